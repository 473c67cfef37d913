import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import sharp from "sharp";
import {
  type BuildOptions,
  buildModel,
  load,
  type Manifest,
  openModelFolder,
  readManifest,
  readTrainingConfig,
  trainModel,
} from "../../src/index.js";
import { encoderOf } from "../../src/model/encoders.js";
import { openSession } from "../../src/runtime/session.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { makeMedia, threeColours, tone } from "../support/make-media.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { golden } from "../support/tiny-backbones.js";
import { writeTrainingConfig } from "../support/training-config.js";

type EncoderOptions = BuildOptions["encoder"];

const decoder = "test/fixtures/goldens/opt-shared-1token/decoder";
const temporary = temporaryFolder();
const at = (name: string) => join(temporary, name);

function encoder(name: string, precision: EncoderOptions["precision"], more: Partial<EncoderOptions> = {}) {
  const path = `test/fixtures/backbones/${name}`;
  return { path, given: path, precision, preprocessing: "source" as const, ...more };
}

function build(name: string, first: EncoderOptions, ...otherEncoders: EncoderOptions[]): Promise<Manifest> {
  const precision = "fp32" as const;
  return buildModel({
    output: at(name),
    encoder: first,
    otherEncoders,
    decoder: { path: decoder, given: decoder, precision },
    adapters: [],
  });
}

function cosine(a: Tensor, b: Tensor): number {
  const [x, y] = [Array.from(a.data, Number), Array.from(b.data, Number)];
  const dot = (p: number[], q: number[]) => p.reduce((sum, value, index) => sum + value * (q[index] ?? 0), 0);
  return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y));
}

/** What timm's config states of an encoder that was only pre-trained. */
const timmMae = {
  model_type: undefined,
  architecture: "vit_base_patch16_224",
  pretrained_cfg: { tag: "mae", input_size: [3, 32, 32] },
};

const picture = (background: string) =>
  sharp({ create: { width: 50, height: 40, channels: 3, background } })
    .png()
    .toBuffer();

describe("a model folder with a CLIP, a Whisper and a SigLIP that sees the frames of videos", () => {
  let manifest: Manifest;
  before(async () => {
    const frames = encoder("siglip", "fp32", { modality: "video", frames: 2 });
    manifest = await build("three", encoder("clip", "fp32"), encoder("whisper", "fp32"), frames);
  });

  it("records the pooling of each encoder", () => {
    const written = readManifest(at("three"));
    assert.deepEqual(written, manifest);
    assert.deepEqual(
      (["image", "audio", "video"] as const).map((modality) => {
        const { architecture, pooling, depth, inputShape } = encoderOf(written, modality);
        return [architecture, pooling, depth, inputShape];
      }),
      [
        ["clip", "cls", 3, [3, 40, 40]],
        ["whisper", "mean", 3, [14, 10]],
        ["siglip", "mean", 3, [2, 3, 26, 26]],
      ],
    );
    assert.deepEqual(encoderOf(written, "audio").preprocessing, {
      features: "whisper",
      samplingRate: 16_000,
      melBins: 10,
      maxLength: 14,
    });
    assert.deepEqual(encoderOf(written, "video").preprocessing.picture.mean, [0.5, 0.5, 0.5]);
  });

  it("encodes each modality, and batches images like single ones", async () => {
    const model = await load(at("three"), { threads: 1 });
    try {
      const pictures = await Promise.all(["red", "green", "blue"].map(picture));
      const single = [];
      for (const one of pictures) single.push((await model.encode(one)).states);
      const together = await Promise.all(pictures.map((one) => model.encode(one)));
      for (const [index, { states }] of together.entries()) {
        assert.ok(cosine(states, single[index] ?? states) > 1 - 1e-6);
        assert.deepEqual(states.shape, [3, 40]);
      }
      assert.deepEqual((await model.encode(makeMedia("tone.flac", ...tone))).states.shape, [3, 24]);
      const clip = makeMedia("colours.mp4", ...threeColours, "-c:v", "mpeg4");
      assert.deepEqual((await model.encode(clip)).states.shape, [3, 36]);
    } finally {
      await model.close();
    }
  });

  it("caches states", async () => {
    const model = await load(at("three"), { threads: 1, stateCacheBytes: 1_000_000 });
    try {
      const first = await model.encode(await picture("red"));
      const again = await model.encode(await picture("red"));
      assert.deepEqual([first.cached, again.cached], [false, true]);
      assert.deepEqual(again.states, first.states);
    } finally {
      await model.close();
    }
  });

  it("accepts a manifest without poolings, which older versions wrote", async () => {
    const { encoder: first, otherEncoders: _, ...rest } = manifest;
    const { pooling: _pooling, ...older } = first;
    const files = Object.fromEntries(Object.entries(rest.files).filter(([name]) => !/^(audio|video)/.test(name)));
    writeFileSync(join(at("three"), "epalm.json"), JSON.stringify({ ...rest, files, encoder: older }));
    const opened = await openModelFolder(at("three"));
    assert.equal(opened.manifest.encoder.pooling, undefined);
    writeFileSync(join(at("three"), "epalm.json"), JSON.stringify(manifest));
  });
});

describe("quantized encoders", () => {
  const cases = [
    ["clip", "pixels", "states", undefined],
    ["siglip", "pixels", "states", undefined],
    ["siglip", "pixels", "pooled", "attention"],
    ["whisper", "features", "states", undefined],
  ] as const;
  // The goldens have widths of 24 to 40; wide encoders lose less.
  for (const [precision, least] of [
    ["int8", 0.99],
    ["int4", 0.95],
  ] as const) {
    for (const [name, input, key, pooling] of cases) {
      it(`give nearly the same states in ${precision}: ${name}, ${key}`, async () => {
        const folder = `${name}-${key}-${precision}`;
        const { encoder: built } = await build(folder, encoder(name, precision, { pooling }));
        const session = await openSession(join(at(folder), built.graph), { threads: 1 });
        const { cls_states: states } = await session.run({ [input]: golden(name, input) }, ["cls_states"]);
        await session.close();
        assert.ok(states);
        const similarity = cosine(states, golden(name, key));
        assert.ok(similarity > least, `cosine ${similarity}`);
      });
    }
  }
});

describe("the pooling of a masked autoencoder", () => {
  const mae = "test/fixtures/goldens/mae-one-block/mae";
  const options = (path: string, more: Partial<EncoderOptions> = {}): EncoderOptions => ({
    path,
    given: path,
    precision: "fp32",
    preprocessing: "published",
    ...more,
  });

  /** A copy of the checkpoint whose config has further keys; undefined removes one. */
  function changed(name: string, keys: Readonly<Record<string, unknown>>): string {
    cpSync(mae, at(name), { recursive: true });
    const path = join(at(name), "config.json");
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...keys }));
    return at(name);
  }

  for (const [what, keys, more, expected] of [
    ["that is not fine-tuned is the mean of its patches", {}, {}, "mean"],
    ["whose folder records the class token is the class token", { epalm_pooling: "cls" }, {}, "cls"],
    ["fine-tuned as a ViT is the class token", { model_type: "vit" }, {}, "cls"],
    ["whose folder records means is their mean", { model_type: "vit", epalm_pooling: "mean" }, {}, "mean"],
    ["of timm that is not fine-tuned is the mean", { ...timmMae }, { heads: 4 }, "mean"],
    ["can be chosen", { epalm_pooling: "mean" }, { pooling: "cls" }, "cls"],
  ] as const) {
    it(what, async () => {
      const folder = changed(`mae ${what}`, keys);
      const { encoder: built } = await build(`model ${what}`, options(folder, more));
      assert.equal(built.pooling, expected);
    });
  }

  it("must be one that the encoder has", async () => {
    const folder = changed("bad-pooling", { epalm_pooling: "attention" });
    await assert.rejects(build("model-bad-pooling", options(folder)), {
      code: "invalid_checkpoint",
      message: /bad-pooling\/config\.json: 'epalm_pooling': expected mean or cls, got attention$/,
    });
  });
});

describe("attention pooling", () => {
  const adapter = (injectedStates: number) => ({ name: "a", injectedStates, startLayer: 3, endLayer: 6 });
  before(async () => {
    await build("model", encoder("siglip", "fp32", { pooling: "attention" }));
    const lines = ["red", "blue"].map((colour) =>
      JSON.stringify({ image: `${colour}.png`, caption: `a ${colour} thing` }),
    );
    for (const colour of ["red", "blue"]) writeFileSync(at(`${colour}.png`), await picture(colour));
    for (const part of ["train", "validation"]) writeFileSync(at(`${part}.jsonl`), `${lines.join("\n")}\n`);
  });

  it("trains an adapter that injects its single state, which then answers", async () => {
    const install = { install: true, epochs: 4, adapter: adapter(1) };
    await trainModel(readTrainingConfig(writeTrainingConfig(temporary, "single", install)));
    const steps = readFileSync(join(at("single"), "log.jsonl"), "utf8");
    assert.match(steps, /"kind":"step"/);
    const model = await load(at("model"), { threads: 1 });
    try {
      const { text } = await model.caption(await picture("red"), { maxNewTokens: 3 });
      assert.equal(typeof text, "string");
    } finally {
      await model.close();
    }
  });

  it("rejects an adapter that injects more states", async () => {
    const config = readTrainingConfig(writeTrainingConfig(temporary, "two", { epochs: 1, adapter: adapter(2) }));
    await assert.rejects(trainModel(config), {
      code: "invalid_adapter",
      message: /injects 2 states, but the encoder pools to a single state \(attention\)/,
    });
  });
});
