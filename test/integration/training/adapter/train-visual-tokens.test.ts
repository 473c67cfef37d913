import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import sharp from "sharp";
import {
  buildModel,
  load,
  type Modality,
  readManifest,
  readTrainingConfig,
  trainModel,
} from "../../../../src/index.js";
import { encoderOf } from "../../../../src/model/encoders.js";
import { mean } from "../../../../src/training/metrics/mean.js";
import { makeMedia } from "../../../support/make-media.js";
import { severalModel } from "../../../support/several-model.js";
import { temporaryFolder } from "../../../support/temporary-folder.js";
import { lossesOf, writeTrainingConfig } from "../../../support/training-config.js";

const temporary = temporaryFolder();
const at = (name: string) => join(temporary, name);

/** Two easily distinguished kinds of each medium, and their captions. */
const media: Readonly<Record<Modality, readonly [ending: string, make: (index: number) => Buffer | Promise<Buffer>]>> =
  {
    image: ["png", (index) => colour(index % 2 === 0 ? "white" : "black", 30 + index)],
    audio: [
      "wav",
      (index) => sound(index % 2 === 0 ? `sine=f=${300 + 10 * index}:d=0.5` : `anoisesrc=d=0.5:seed=${index}`),
    ],
    video: ["mp4", (index) => clip(index % 2 === 0 ? "white" : "black", 32 + 2 * index)],
  };
const captions = ["a tone", "only noise"];

function colour(background: string, width: number): Promise<Buffer> {
  return sharp({ create: { width, height: 20, channels: 3, background } })
    .png()
    .toBuffer();
}

function sound(source: string): Buffer {
  return makeMedia("sound.wav", "-f", "lavfi", "-i", source, "-ar", "16000");
}

function clip(background: string, width: number): Buffer {
  const source = `color=c=${background}:s=${width}x32:r=5:d=1`;
  return makeMedia("clip.mp4", "-f", "lavfi", "-i", source, "-c:v", "mpeg4");
}

function config(name: string, modality: Modality, connector: object, changes: object = {}): string {
  return writeTrainingConfig(temporary, name, {
    data: { train: { path: `${modality}.jsonl` }, validation: { path: `${modality}.jsonl` } },
    adapter: { name, connector, modality },
    optimizer: { learningRate: 0.01, promptLearningRate: 0.02, clipNorm: 1 },
    epochs: 6,
    batchSize: 2,
    ...changes,
  });
}

const prefix = { kind: "prefix", states: { pool: 2 }, projection: "mlp", norm: true };
const queries = { kind: "queries", queries: 4, width: 16, layers: 1, heads: 2, depths: 2, norm: true, dropout: 0.1 };

before(async () => {
  for (const [modality, [ending, make]] of Object.entries(media)) {
    const lines: object[] = [];
    for (let index = 0; index < 4; index++) {
      writeFileSync(at(`${modality}-${index}.${ending}`), await make(index));
      lines.push({ [modality]: `${modality}-${index}.${ending}`, caption: captions[index % 2] });
    }
    writeFileSync(at(`${modality}.jsonl`), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  }
  const plan = severalModel(at("model"));
  await buildModel({ ...plan, decoder: { ...plan.decoder, precision: "fp32" } });
});

describe("an adapter with visual tokens", () => {
  const runs = [
    ["prefix-image", "image", prefix],
    ["queries-image", "image", queries],
    ["prefix-audio", "audio", prefix],
    ["queries-video", "video", queries],
  ] as const;
  for (const [name, modality, connector] of runs) {
    it(`is trained, installed and distinguishes what it was trained on: ${name}`, async () => {
      const { tasks } = await trainModel(readTrainingConfig(config(name, modality, connector, { install: true })));
      assert.deepEqual(tasks, ["caption"]);
      const losses = lossesOf(at(name));
      assert.ok(mean(losses.slice(-2)) < mean(losses.slice(0, 2)) - 0.5, losses.join(" "));
      assert.ok(encoderOf(readManifest(at("model")), modality).patches);
      const model = await load(at("model"), { threads: 1 });
      const [ending] = media[modality];
      const answers = await Promise.all(
        [0, 1].map((index) => model.caption(at(`${modality}-${index}.${ending}`), { adapter: name })),
      );
      const [one, other] = answers.map(({ texts }) => JSON.stringify(texts[0]?.logProbs));
      assert.notEqual(one, other);
      await model.close();
    });
  }

  it("ends with the same weights after a stop, in a folder whose other states stay valid", async () => {
    const whole = await trainModel(readTrainingConfig(config("whole", "image", queries, { adapter: named(queries) })));
    const path = config("stopped", "image", queries, { adapter: named(queries), cache: "shared" });
    const stop = new AbortController();
    const onStep = ({ step }: { step: number }) => {
      if (step === 3) stop.abort();
    };
    await assert.rejects(trainModel(readTrainingConfig(path), { signal: stop.signal, onStep }), { code: "aborted" });
    const resumed = await trainModel(readTrainingConfig(path), {
      onPlan: ({ resumedFrom }) => assert.equal(resumedFrom, 3),
    });
    assert.deepEqual(readFileSync(resumed.adapterFile), readFileSync(whole.adapterFile));
    assert.ok(existsSync(at("shared")));
  });

  it("cannot be whitened, and takes no more positions than the decoder has", async () => {
    await assert.rejects(trainModel(readTrainingConfig(config("white", "image", prefix, { whiten: true }))), {
      code: "invalid_option",
      message: /whiten: expected false with the connector prefix, got true/,
    });
    const wide = { kind: "queries", queries: 60, width: 8, layers: 1, heads: 1 };
    await assert.rejects(trainModel(readTrainingConfig(config("wide", "image", wide))), {
      code: "invalid_data",
      message: /expected at most 4 tokens of prompt and answer/,
    });
    const coarse = { kind: "prefix", states: { pixelShuffle: 3 } };
    await assert.rejects(trainModel(readTrainingConfig(config("coarse", "image", coarse))), {
      code: "invalid_adapter",
      message: /pixelShuffle: expected a divisor of 4 x 4/,
    });
  });

  it("starts from the adapter of another run with the same settings, and from no other", async () => {
    const initial = join(at("whole"), "adapter.safetensors");
    const more = await trainModel(
      readTrainingConfig(config("more", "image", queries, { adapter: { ...named(queries), initial }, epochs: 1 })),
    );
    assert.ok(more.adapter.tensors.has("connector.norm.weight"));
    const adapter = { ...named({ ...queries, norm: false }), initial };
    await assert.rejects(trainModel(readTrainingConfig(config("other", "image", queries, { adapter }))), {
      code: "invalid_adapter",
      message: /adapter\.safetensors: 'connector': expected .*"norm":false.*got .*"norm":true/,
    });
  });

  const named = (connector: object) => ({ name: "same", connector, modality: "image", startLayer: 1, endLayer: 5 });
});
