import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { inflated, trainClipEncoder } from "../../../models/recipe/clips/clip-encoder.js";
import { writeClipSet } from "../../../models/recipe/clips/clip-sets.js";
import type { AspectAccuracies } from "../../../models/recipe/train-encoder.js";
import { encoderGraph } from "../../../src/backbones/encoder-graph.js";
import { ParameterReader } from "../../../src/backbones/parameters.js";
import { encoderArchitecture } from "../../../src/backbones/registry.js";
import { weightsInMemory } from "../../../src/fedmae/weights-in-memory.js";
import { writeEncoderFolder } from "../../../src/fedmae.js";
import { randomStreams } from "../../../src/generation/random.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { readEncoder } from "../../../src/model/read-encoder.js";
import { openSource } from "../../../src/model/source-folder.js";
import type { Tensor } from "../../../src/tensor/tensor.js";
import { normal } from "../../../src/training/distributions.js";
import { InitialWeights } from "../../../src/training/initial-weights.js";
import { statesOf } from "../../backbones/tiny-models.js";
import { lacksEncoder } from "../../media/make-media.js";

const temporary = mkdtempSync(join(tmpdir(), "epalm-clip-encoder-"));
after(() => rmSync(temporary, { recursive: true, force: true }));

const FRAMES = 3;
const SIDE = 32;
const vitConfig = {
  model_type: "vit",
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 32,
  image_size: SIDE,
  patch_size: 16,
  num_channels: 3,
  hidden_act: "gelu",
  layer_norm_eps: 1e-6,
  qkv_bias: true,
} as const;
const clipConfig = { ...vitConfig, model_type: "timesformer", num_frames: FRAMES } as const;

/** All that an encoder asks for, at random. */
function randomWeights(config: typeof vitConfig | typeof clipConfig): ReadonlyMap<string, Tensor> {
  const [random = Math.random] = randomStreams(3, 1);
  const weights = new InitialWeights(
    (_, shape) => normal(random, shape, 0.3),
    (name) => name.endsWith("qkv.weight"),
  );
  const g = new GraphBuilder("encoder");
  const backbone = encoderArchitecture(config.model_type, "config").build(
    config,
    new ParameterReader(g, weights),
  );
  encoderGraph(g, backbone);
  return weights.tensors;
}

function states(
  config: typeof vitConfig | typeof clipConfig,
  tensors: ReadonlyMap<string, Tensor>,
  input: Tensor,
): Promise<Tensor> {
  const g = new GraphBuilder("encoder");
  const parameters = new ParameterReader(g, weightsInMemory(tensors, "test"));
  return statesOf(
    encoderGraph(g, encoderArchitecture(config.model_type, "config").build(config, parameters)),
    input,
  );
}

describe("what an encoder of clips begins with", () => {
  const picture = randomWeights(vitConfig);
  const clip = inflated(picture, FRAMES);

  it("is all that it asks for, in its shapes, and nothing else", () => {
    const shapes = (tensors: ReadonlyMap<string, Tensor>) =>
      Array.from(tensors, ([name, { shape }]) => `${name} ${shape}`).sort();
    assert.deepEqual(shapes(clip), shapes(randomWeights(clipConfig)));
  });

  it("sees a clip that stays as the encoder of pictures sees its frames", async () => {
    const [random = Math.random] = randomStreams(4, 1);
    const data = normal(random, [3, SIDE, SIDE], 1);
    const frames = new Float32Array(FRAMES * data.length);
    for (let frame = 0; frame < FRAMES; frame++) frames.set(data, frame * data.length);
    const ofPicture = await states(vitConfig, picture, { type: "float32", shape: [1, 3, SIDE, SIDE], data });
    const ofClip = await states(clipConfig, clip, {
      type: "float32",
      shape: [1, FRAMES, 3, SIDE, SIDE],
      data: frames,
    });
    assert.deepEqual(ofClip.shape, ofPicture.shape);
    ofPicture.data.forEach((value, i) => {
      assert.ok(Math.abs(Number(value) - Number(ofClip.data[i])) < 1e-4, `${i}: ${value}, ${ofClip.data[i]}`);
    });
  });
});

describe("an encoder of clips", { skip: lacksEncoder("libx264") }, () => {
  const [from, set, output] = ["pictures", "set", "clips"].map((name) => join(temporary, name)) as [
    string,
    string,
    string,
  ];
  before(async () => {
    writeEncoderFolder(from, { config: vitConfig, tensors: randomWeights(vitConfig) });
    await writeClipSet({
      ...{ folder: set, count: 3, side: SIDE, seed: 1 },
      ...{ styles: "training", combinations: "training" },
    });
  });

  it("is trained from one of pictures on clips drawn anew, tested on files, and read as a public checkpoint", async () => {
    const losses: number[] = [];
    const tested: AspectAccuracies[] = [];
    await trainClipEncoder(
      {
        ...{ output, from, clips: { count: 400, seed: 10 }, tests: { files: set } },
        ...{ steps: 3, batchSize: 4, testEvery: 3, threads: 1 },
      },
      { onStep: (_, loss) => losses.push(loss), onTest: (_, __, accuracies) => tested.push(accuracies) },
    );
    assert.equal(losses.length, 3);
    assert.ok(losses.every(Number.isFinite), losses.join());
    assert.ok(tested[0] && "action" in tested[0] && "background" in tested[0]);
    const source = await openSource(output, "clips");
    try {
      const { backbone } = readEncoder(new GraphBuilder("encoder"), source, {});
      assert.deepEqual([backbone.modality, backbone.inputShape], ["video", [4, 3, SIDE, SIDE]]);
    } finally {
      source.checkpoint.close();
    }
  });
});
