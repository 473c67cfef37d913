import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { EncoderBackbone, PatchBackbone } from "../../src/backbones/backbone.js";
import { encoderGraph, encoderInputs } from "../../src/backbones/encoders/encoder-graph.js";
import { patchOutput, withPatchStates } from "../../src/backbones/encoders/patch-states.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { type EncoderChoices, readEncoder } from "../../src/model/read-encoder.js";
import { openSource } from "../../src/model/source-folder.js";
import { openSession } from "../../src/runtime/session.js";
import { elementCount, floats, type Tensor } from "../../src/tensor/tensor.js";

const fixtures = "test/fixtures/backbones";

/** A public encoder of two media, as the backbone and the derived graph compute it. */
async function patchesOf(name: string, choices: EncoderChoices) {
  const path = join(fixtures, name);
  const source = await openSource(path, path);
  const g = new GraphBuilder("encoder");
  const { backbone } = readEncoder(g, source, choices);
  const graph = encoderGraph(g, backbone);
  const found = withPatchStates(graph, backbone.modality);
  if (!found) return { backbone, found };
  const shape = [2, ...backbone.inputShape];
  const data = Float32Array.from({ length: elementCount(shape) }, (_, i) => Math.sin(0.37 * i) + Math.cos(0.011 * i));
  const input: Tensor = { type: "float32", shape, data };
  const feeds = { [encoderInputs[backbone.modality]]: input };
  const session = await openSession(encodeOnnx(found.graph), { threads: 1 });
  const names = Array.from({ length: backbone.depth }, (_, block) => patchOutput(block));
  const results = await session.run(feeds, ["cls_states", ...names]);
  await session.close();
  const plain = await openSession(encodeOnnx(graph), { threads: 1 });
  const { cls_states: states } = await plain.run(feeds, ["cls_states"]);
  await plain.close();
  source.checkpoint.close();
  return { backbone, found, results, names, states, expected: await ofBackbone(path, choices, feeds) };
}

/** The patch states after the last block that the backbone itself returns; only of encoders that return any. */
async function ofBackbone(path: string, choices: EncoderChoices, feeds: Readonly<Record<string, Tensor>>) {
  const source = await openSource(path, path);
  const g = new GraphBuilder("patches");
  const { backbone } = readEncoder(g, source, choices);
  if (!isPatchBackbone(backbone) || choices.modality === "video") return undefined;
  const input = g.input(encoderInputs[backbone.modality], "float32", ["batch", ...backbone.inputShape]);
  g.output("patches", backbone.through(input).patches());
  const session = await openSession(encodeOnnx(g.finish()), { threads: 1 });
  const { patches } = await session.run(feeds, ["patches"]);
  await session.close();
  source.checkpoint.close();
  return patches;
}

function isPatchBackbone(backbone: EncoderBackbone): backbone is PatchBackbone {
  return "through" in backbone;
}

/** States in the order of the layout, from TimeSformer's order, which keeps the frames of a place together. */
function byFrame(states: Tensor, frames: number): Float32Array {
  const [batch = 0, count = 0, width = 0] = states.shape;
  const places = count / frames;
  const data = floats(states);
  const ordered = new Float32Array(data.length);
  for (let item = 0; item < batch; item++) {
    for (let place = 0; place < places; place++) {
      for (let frame = 0; frame < frames; frame++) {
        const from = (item * count + place * frames + frame) * width;
        ordered.set(data.subarray(from, from + width), (item * count + frame * places + place) * width);
      }
    }
  }
  return ordered;
}

function assertNear(found: Float32Array, expected: Float32Array): void {
  assert.equal(found.length, expected.length);
  for (const [index, value] of expected.entries()) assert.ok(Math.abs(Number(found[index]) - value) < 1e-5);
}

describe("a graph of patch states", () => {
  const cases: readonly (readonly [name: string, layout: readonly number[], choices?: EncoderChoices])[] = [
    ["vit", [1, 4, 4]],
    ["deit", [1, 4, 4]],
    ["vit-mae", [1, 4, 4]],
    ["clip", [1, 6, 6]],
    ["siglip", [1, 3, 3]],
    ["dinov2", [1, 7, 7]],
    ["dinov2-with-registers", [1, 7, 7]],
    ["dinov3", [1, 5, 5]],
    ["eva02-clip-timm", [1, 4, 4]],
    ["whisper", [1, 1, 7]],
    ["timesformer", [2, 2, 2], { frames: 2 }],
    ["videomae", [2, 2, 2]],
    ["videomae", [3, 2, 2], { frames: 6 }],
    ["vjepa2", [2, 3, 3]],
    ["vjepa2", [1, 3, 3], { frames: 1 }],
    ["vit", [3, 4, 4], { modality: "video", frames: 3 }],
    ["siglip", [2, 3, 3], { modality: "video", frames: 2 }],
  ];
  for (const [name, layout, choices = {}] of cases) {
    const what = choices.modality === "video" ? `${name} for the frames of a video` : name;
    it(`returns the states of all patches in the order of their layout: ${what}`, async () => {
      const { backbone, found, results = {}, names = [], states, expected } = await patchesOf(name, choices);
      assert.ok(found);
      const [frames = 0, rows = 0, columns = 0] = layout;
      assert.deepEqual(found.layout, { frames, rows, columns });
      for (const output of names) {
        assert.deepEqual(results[output]?.shape, [2, frames * rows * columns, backbone.width], output);
      }
      assertNear(floats(results.cls_states), floats(states));
      if (!expected) return;
      const last = floats(results[names.at(-1) ?? ""]);
      assertNear(last, name === "timesformer" ? byFrame(expected, frames) : floats(expected));
    });
  }

  it("averages the frames of a video to the encoder's own state, with means of patches", async () => {
    const { found, results = {}, names = [] } = await patchesOf("siglip", { modality: "video", frames: 2 });
    const patches = results[names.at(-1) ?? ""];
    const [batch = 0, count = 0, width = 0] = patches?.shape ?? [];
    assert.ok(found && patches && count > 0);
    const means = Float32Array.from({ length: batch * width }, (_, at) => {
      const [item, channel] = [Math.floor(at / width), at % width];
      let sum = 0;
      for (let place = 0; place < count; place++) sum += Number(patches.data[(item * count + place) * width + channel]);
      return sum / count;
    });
    const states = floats(results.cls_states);
    const last = names.length - 1;
    const own = Float32Array.from({ length: batch * width }, (_, at) => {
      return Number(states[(Math.floor(at / width) * names.length + last) * width + (at % width)]);
    });
    assertNear(means, own);
  });

  it("has one state per point in time, the mean over frequencies, with a spectrogram transformer", async () => {
    const mean = await patchesOf("ast", {});
    const { found, results = {}, names = [] } = mean;
    assert.ok(found);
    assert.equal(found.layout.rows, 1);
    assert.deepEqual(results[names.at(-1) ?? ""]?.shape, [2, found.layout.columns, mean.backbone.width]);
  });

  it("does not exist if the encoder pools by attention, or norms only the mean of its patches", async () => {
    for (const [name, choices] of [
      ["siglip", { pooling: "attention" }] as const,
      ["videomae-classifier", {}] as const,
      ["eva02-timm", {}] as const,
    ]) {
      const { found } = await patchesOf(name, choices);
      assert.equal(found, undefined, name);
    }
  });
});
