import assert from "node:assert/strict";
import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import sharp from "sharp";
import { clsSettings } from "../../src/adapter/adapter.js";
import {
  type BuildOptions,
  buildModel,
  installAdapter,
  load,
  loadAdapter,
  type Manifest,
  openModelFolder,
  readAdapter,
} from "../../src/index.js";
import { encoderOf } from "../../src/model/encoders.js";
import { openSession } from "../../src/runtime/session.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { makeMedia, threeColours, tone } from "../support/make-media.js";
import { audio, image, ofPictures, ofVideos, severalModel, video } from "../support/several-model.js";
import { golden } from "../support/tiny-backbones.js";

describe("a model folder with an encoder for each modality", () => {
  let temporary: string;
  let folder: string;
  let manifest: Manifest;
  let picture: Buffer;
  before(async () => {
    temporary = mkdtempSync(join(tmpdir(), "epalm-several-"));
    folder = join(temporary, "model");
    manifest = await buildModel(severalModel(folder));
    const red = { width: 50, height: 40, channels: 3, background: "#c83214" } as const;
    picture = await sharp({ create: red }).png().toBuffer();
  });
  after(() => rmSync(temporary, { recursive: true, force: true }));

  function copy(name: string): string {
    const target = join(temporary, name);
    cpSync(folder, target, { recursive: true });
    return target;
  }

  it("has an input shape and preprocessing for each encoder", () => {
    assert.deepEqual(
      [encoderOf(manifest, "image"), encoderOf(manifest, "audio"), encoderOf(manifest, "video")].map(
        ({ architecture, graph, inputShape }) => [architecture, graph, inputShape],
      ),
      [
        ["vit", "encoder/model.onnx", [3, 32, 32]],
        ["ast", "audio-encoder/model.onnx", [40, 32]],
        ["timesformer", "video-encoder/model.onnx", [2, 3, 16, 16]],
      ],
    );
    const { preprocessing } = encoderOf(manifest, "audio");
    assert.deepEqual([preprocessing.maxLength, preprocessing.melBins], [40, 32]);
    assert.equal(encoderOf(manifest, "video").preprocessing.frames, 2);
    assert.deepEqual(
      Object.values(manifest.adapters).map(({ modality }) => modality),
      ["audio", "video", "image"],
    );
  });

  it("computes nearly the exact states in int8", async () => {
    const cases = [
      ["audio", "features", golden("ast", "features"), golden("ast", "states")],
      ["video", "pixels", golden("timesformer", "pixels_2_frames"), golden("timesformer", "states_2_frames")],
    ] as const;
    for (const [modality, input, given, expected] of cases) {
      const session = await openSession(join(folder, encoderOf(manifest, modality).graph), { threads: 1 });
      const { cls_states: states } = await session.run({ [input]: given }, ["cls_states"]);
      await session.close();
      assert.ok(states);
      assert.deepEqual(states.shape, expected.shape);
      const similarity = cosine(states, expected);
      assert.ok(similarity > 0.99, `${modality}: cosine ${similarity}`);
    }
  });

  it("can be the source of the encoders of another one", async () => {
    const { decoder, adapters } = severalModel(join(temporary, "copied"));
    const copied = await buildModel({
      output: join(temporary, "copied"),
      encoder: { ...image, path: folder, given: "model", modality: "video" },
      otherEncoders: [{ ...image, path: folder, given: "model" }],
      decoder,
      adapters: adapters.filter(({ name }) => name === "clips"),
    });
    assert.deepEqual(copied.encoder, { ...encoderOf(manifest, "video"), graph: "encoder/model.onnx" });
    const imageGraph = "image-encoder/model.onnx";
    assert.deepEqual(copied.otherEncoders, [{ ...encoderOf(manifest, "image"), graph: imageGraph }]);
    assert.deepEqual(copied.files[imageGraph], manifest.files["encoder/model.onnx"]);
    await openModelFolder(join(temporary, "copied"));
    const second = { ...image, path: folder, given: "model" };
    for (const [name, value] of Object.entries({ frames: 2, heads: 2, imageSize: 32, pooling: "mean" })) {
      const encoder = { ...second, [name]: value };
      await assert.rejects(buildModel({ output: join(temporary, "chosen"), encoder, decoder, adapters: [] }), {
        code: "invalid_option",
        message: `${name}: expected nothing with the encoder of a model folder, which is copied, got ${value}`,
      });
    }
    await assert.rejects(
      buildModel({ output: join(temporary, "twice"), encoder: second, otherEncoders: [second], decoder, adapters: [] }),
      { code: "invalid_option", message: "model: expected one encoder per modality, got a second one for image" },
    );
  });

  it("can be the source of the decoder of another one", async () => {
    const { encoder, adapters } = severalModel(join(temporary, "same-decoder"));
    const copied = await buildModel({
      output: join(temporary, "same-decoder"),
      encoder,
      decoder: { path: folder, given: "model", precision: manifest.decoder.precision },
      adapters: adapters.filter(({ name }) => name === "pictures"),
    });
    assert.deepEqual(copied.decoder, manifest.decoder);
    const prompts = ({ tasks }: typeof manifest) => [tasks.caption.prompt, tasks.vqa.prompt, tasks.vqa.generation];
    assert.deepEqual(prompts(copied), prompts(manifest));
    // The adapters that had them are not copied.
    for (const task of Object.values(copied.tasks)) assert.equal(task.capabilities, undefined);
    const [one, other] = [
      await load(folder, { threads: 1 }),
      await load(join(temporary, "same-decoder"), { threads: 1 }),
    ];
    try {
      const brief = { adapter: "pictures", beams: 1, maxNewTokens: 4 };
      assert.equal((await other.caption(picture, brief)).text, (await one.caption(picture, brief)).text);
    } finally {
      await Promise.all([one.close(), other.close()]);
    }
  });

  it("uses an image adapter for images, and rejects others by name", async () => {
    const model = await load(folder, { threads: 1 });
    try {
      assert.equal((await model.caption(picture, { beams: 1, maxNewTokens: 4 })).adapter, "pictures");
      await assert.rejects(model.caption(picture, { adapter: "sounds", modality: "image" }), {
        code: "invalid_option",
        message: /^adapter 'sounds': expected one for image, got one for audio$/,
      });
    } finally {
      await model.close();
    }
  });

  it("interprets a medium according to its content or to the given modality", async () => {
    const model = await load(folder, { threads: 1 });
    const brief = { beams: 1, maxNewTokens: 3 };
    try {
      const clip = makeMedia("colours.mp4", ...threeColours, "-c:v", "mpeg4");
      const taken = [
        [makeMedia("tone.flac", ...tone), "audio"],
        [clip, "video"],
        [picture, "image"],
      ] as const;
      for (const [medium, modality] of taken) {
        const encoded = await model.encode(medium);
        const { depth, width } = encoderOf(manifest, modality);
        assert.deepEqual([encoded.modality, encoded.states.shape], [modality, [depth, width]]);
      }
      assert.equal((await model.caption(makeMedia("tone.ogg", ...tone), brief)).adapter, "sounds");
      assert.equal((await model.vqa(clip, "What colour?", brief)).adapter, "clips");
      assert.deepEqual((await model.encode(await sharp(picture).gif().toBuffer())).modality, "image");
      await assert.rejects(model.encode(clip, { modality: "audio" }), {
        code: "invalid_media",
        message: "media: has no audio track",
      });
      await assert.rejects(model.encode(Buffer.from("no medium")), {
        code: "unsupported_media",
        message: "media: expected image or audio or video, got other bytes",
      });
    } finally {
      await model.close();
    }
  });

  it("reports the modality of an image even if the first encoder has another one", async () => {
    const output = join(temporary, "sounds-first");
    const adapters = severalModel(output).adapters.map((one) => ({ modality: "image" as const, ...one }));
    await buildModel(severalModel(output, { encoder: audio, otherEncoders: [image, video], adapters }));
    const model = await load(output, { threads: 1 });
    try {
      assert.equal(model.manifest.encoder.modality, "audio");
      const { adapter, modality } = await model.caption(picture, { beams: 1, maxNewTokens: 2 });
      assert.deepEqual([adapter, modality], ["pictures", "image"]);
      assert.deepEqual(model.modalities, ["audio", "image", "video"]);
      assert.equal((await model.rank(picture, "is it red?", ["yes", "no"])).modality, "image");
    } finally {
      await model.close();
    }
  });

  it("is rejected if the files of one encoder are damaged", async () => {
    const damaged = copy("damaged");
    const graph = join(damaged, "audio-encoder", "model.onnx");
    const bytes = readFileSync(graph);
    bytes.writeUInt8(bytes.readUInt8(40) ^ 1, 40);
    writeFileSync(graph, bytes);
    await assert.rejects(openModelFolder(damaged), {
      code: "invalid_model",
      message: /audio-encoder\/model\.onnx: is damaged/,
    });
  });

  it("is rejected with the key of an inconsistent manifest", async () => {
    const { otherEncoders = [], adapters } = manifest;
    const [sounds, clips] = otherEncoders;
    assert.ok(sounds && clips);
    const pictures = adapters.pictures ?? assert.fail("the folder has its adapter");
    const wrong: readonly (readonly [object, RegExp])[] = [
      [
        { otherEncoders: [sounds, sounds, clips] },
        /'otherEncoders\[1\]\.modality': expected one encoder per modality, got a second one for audio/,
      ],
      [{ otherEncoders: [{ ...sounds, modality: "image" }, clips] }, /'otherEncoders\[0\]\.preprocessing/],
      [
        { otherEncoders: [sounds] },
        /'adapters\.clips\.modality': expected a modality of the model's encoders, got video/,
      ],
      [{ otherEncoders: [] }, /'otherEncoders'/],
      [{ otherEncoders: [{ ...sounds, modality: "smell" }] }, /'otherEncoders\[0\]\.modality'/],
      [{ adapters: { pictures: { ...pictures, modality: "text" } } }, /'adapters\.pictures\.modality'/],
    ];
    const changed = copy("changed");
    for (const [change, message] of wrong) {
      writeFileSync(join(changed, "epalm.json"), JSON.stringify({ ...manifest, ...change }));
      await assert.rejects(openModelFolder(changed), { code: "invalid_model", message });
    }
  });

  it("accepts an adapter for any of its modalities", async () => {
    const target = copy("installed");
    const adapter = await readAdapter(ofVideos);
    const changed = await installAdapter(target, "more", adapter, ["caption"], "audio");
    assert.equal(changed.adapters.more?.modality, "audio");
    const { settings } = await loadAdapter({ path: target, manifest: changed }, "more");
    assert.equal(clsSettings(settings, "more").injectedStates, 2);
    const deep = await readAdapter(join(ofPictures, "adapter.pth"));
    await assert.rejects(installAdapter(target, "deep", deep, ["caption"], "audio"), {
      code: "invalid_adapter",
      message: /injects 3 states, but the encoder has only 2 blocks/,
    });
  });

  it("uses unlisted adapter files for the first encoder that they fit", async () => {
    const target = copy("dropped");
    const model = await load(target, { threads: 1 });
    try {
      copyFileSync(ofVideos, join(target, "adapters", "dropped.pth"));
      assert.deepEqual((await model.refreshAdapters()).loaded, ["dropped"]);
      const answer = await model.caption(picture, { adapter: "dropped", beams: 1, maxNewTokens: 4 });
      assert.equal(answer.adapter, "dropped");
    } finally {
      await model.close();
    }
  });

  it("is not built from incompatible parts", async () => {
    const output = join(temporary, "refused");
    const [adapter] = severalModel(output).adapters;
    assert.ok(adapter);
    const wrong: readonly (readonly [Partial<BuildOptions>, RegExp])[] = [
      [
        { otherEncoders: [audio, image] },
        /opt-shared-1token\/encoder: expected one encoder per modality, got a second one for image/,
      ],
      [{ otherEncoders: [], adapters: [adapter] }, /^adapter 'sounds': expected an encoder for audio, got image$/],
      [{ otherEncoders: [{ ...audio, modality: "video" }] }, /expected an encoder for video, got ast/],
    ];
    for (const [change, message] of wrong) {
      await assert.rejects(buildModel(severalModel(output, change)), { code: "invalid_option", message });
    }
  });
});

describe("a model folder without an image encoder", () => {
  it("has adapters of its own modality and captions audio", async () => {
    const temporary = mkdtempSync(join(tmpdir(), "epalm-sounds-"));
    try {
      const folder = join(temporary, "sounds");
      const adapters = [{ name: "sounds", path: ofVideos, tasks: ["caption"] }] as const;
      const manifest = await buildModel(severalModel(folder, { encoder: audio, otherEncoders: [], adapters }));
      assert.equal(manifest.encoder.modality, "audio");
      assert.equal(manifest.adapters.sounds?.modality, "audio");
      const model = await load(folder, { threads: 1 });
      try {
        const wave = makeMedia("tone.wav", ...tone);
        const answer = await model.caption(wave, { beams: 1, maxNewTokens: 3 });
        assert.deepEqual([answer.adapter, answer.modality], ["sounds", "audio"]);
        await assert.rejects(model.caption(Buffer.from("no sound")), { code: "unsupported_media" });
        await assert.rejects(model.caption(wave, { modality: "image" }), {
          code: "invalid_option",
          message: /^modality: expected audio, got image$/,
        });
        await assert.rejects(model.encode(wave, { modality: "image" }), {
          code: "invalid_option",
          message: /^modality: expected audio, got image$/,
        });
      } finally {
        await model.close();
      }
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  });
});

function cosine({ data: a }: Tensor, { data: b }: Tensor): number {
  const dot = (x: Tensor["data"], y: Tensor["data"]) => {
    let sum = 0;
    for (let at = 0; at < x.length; at++) sum += Number(x[at]) * Number(y[at]);
    return sum;
  };
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
