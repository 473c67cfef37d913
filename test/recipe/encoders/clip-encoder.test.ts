import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { writeClipSet } from "../../../models/recipe/data/clips/clip-sets.js";
import { inflated, trainClipEncoder } from "../../../models/recipe/encoders/clip-encoder.js";
import type { AttributeAccuracies } from "../../../models/recipe/encoders/train-scene-encoder.js";
import { randomStreams } from "../../../src/core/random.js";
import { writeEncoderFolder } from "../../../src/fedmae.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { readEncoder } from "../../../src/model/read-encoder.js";
import { openSource } from "../../../src/model/source-folder.js";
import type { Tensor } from "../../../src/tensor/tensor.js";
import { normal } from "../../../src/training/distributions.js";
import { lacksEncoder } from "../../support/make-media.js";
import { encoderStates, randomWeights, vitConfig } from "../../support/tiny-encoders.js";

const temporary = mkdtempSync(join(tmpdir(), "epalm-clip-encoder-"));
after(() => rmSync(temporary, { recursive: true, force: true }));

const FRAMES = 3;
const { image_size: SIDE } = vitConfig;
const clipConfig = { ...vitConfig, model_type: "timesformer", num_frames: FRAMES } as const;

describe("the initial tensors of a clip encoder", () => {
  const image = randomWeights(vitConfig);
  const clip = inflated(image, FRAMES);

  it("are exactly the tensors that the encoder needs, in their shapes", () => {
    const shapes = (tensors: ReadonlyMap<string, Tensor>) =>
      Array.from(tensors, ([name, { shape }]) => `${name} ${shape}`).sort();
    assert.deepEqual(shapes(clip), shapes(randomWeights(clipConfig)));
  });

  it("give the states of the image encoder for a clip of identical frames", async () => {
    const [random = Math.random] = randomStreams(4, 1);
    const data = normal(random, [3, SIDE, SIDE], 1);
    const frames = new Float32Array(FRAMES * data.length);
    for (let frame = 0; frame < FRAMES; frame++) frames.set(data, frame * data.length);
    const ofPicture = await encoderStates(vitConfig, image, {
      type: "float32",
      shape: [1, 3, SIDE, SIDE],
      data,
    });
    const ofClip = await encoderStates(clipConfig, clip, {
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

describe("a clip encoder", { skip: lacksEncoder("libx264") }, () => {
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

  it("is trained from an image encoder, tested on files, and can be read as a public checkpoint", async () => {
    const losses: number[] = [];
    const tested: AttributeAccuracies[] = [];
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
