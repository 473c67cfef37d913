import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { MediaEncoder, type MediaEncoderOptions } from "../../src/encoding/media-encoder.js";
import { MediaThread } from "../../src/encoding/media-thread.js";
import { readManifest } from "../../src/index.js";
import { decodeImage } from "../../src/media/decode/image/image.js";
import { type EncoderOf, encoderOf } from "../../src/model/encoders.js";
import type { Session } from "../../src/runtime/session.js";
import { SessionThread } from "../../src/runtime/session-thread.js";
import { buildTinyModel, picture, temporaryFolder } from "../support/tiny-model.js";

const sessions = new SessionThread();
const media = new MediaThread();
after(() => Promise.all([sessions.close(), media.close()]));

let encoder: EncoderOf<"image">;
let session: Session;
let png: Buffer;
before(async () => {
  const folder = await buildTinyModel();
  encoder = encoderOf(readManifest(folder), "image");
  session = await sessions.open(join(folder, encoder.graph), { threads: 1 });
  png = await picture();
});

const mediaEncoder = (options: MediaEncoderOptions = {}, manifest = encoder) =>
  new MediaEncoder(media, [{ encoder: manifest, session }], options);

describe("MediaEncoder", () => {
  it("preprocesses images in its thread to the same bits as in the caller's thread", async () => {
    for (const [width, height] of [
      [60, 40],
      [700, 500],
    ] as const) {
      const bytes = await picture(5, width, height);
      const here = await decodeImage(bytes, encoder.preprocessing);
      const there = await media.prepare({ input: bytes, choices: [encoder], limits: {} });
      assert.deepEqual(there, { modality: "image", data: here });
    }
    assert.ok(png.length > 0, "the caller keeps its bytes");
  });

  it("gives the same states for a path, its bytes, its pixels and its states", async () => {
    const path = join(temporaryFolder(), "picture.png");
    writeFileSync(path, png);
    const own = mediaEncoder();
    const { states } = await own.encode(png);
    assert.deepEqual(states.shape, [encoder.depth, encoder.width]);
    const pixels = await decodeImage(png, encoder.preprocessing);
    for (const input of [path, { pixels }, { states }]) {
      assert.deepEqual((await own.encode(input)).states, states);
    }
    assert.equal(own.counts.examples, 3);
  });

  it("recognises bytes only if the state cache is enabled", async () => {
    const own = mediaEncoder({ stateCacheBytes: 1e6 });
    const first = await own.encode(png);
    const again = await own.encode(Buffer.from(png));
    assert.deepEqual([first.cached, again.cached, again.timings.encoder], [false, true, 0]);
    assert.equal(again.states, first.states);
    await own.encode(await picture(8));
    const { examples, cacheHits, cacheMisses, cacheBytes } = own.counts;
    assert.deepEqual([examples, cacheHits, cacheMisses], [2, 1, 2]);
    assert.equal(cacheBytes, 2 * first.states.data.byteLength);
    const forgetful = mediaEncoder();
    await forgetful.encode(png);
    assert.equal((await forgetful.encode(png)).cached, false);
    assert.deepEqual([forgetful.counts.cacheHits, forgetful.counts.cacheMisses], [0, 0]);
  });

  it("batches images, but encodes them one at a time if a batch would change the results", async () => {
    const pictures = await Promise.all(
      [1, 2, 3, 4].map(async (seed) => decodeImage(await picture(seed), encoder.preprocessing)),
    );
    const together = mediaEncoder({ encoderBatch: 4 });
    await Promise.all(pictures.map((pixels) => together.encode({ pixels })));
    assert.deepEqual([together.counts.runs, together.counts.examples], [1, 4]);
    const single = mediaEncoder({ encoderBatch: 4 }, { ...encoder, precision: "int8" });
    await Promise.all(pictures.map((pixels) => single.encode({ pixels })));
    assert.deepEqual([single.counts.runs, single.counts.examples], [4, 4]);
  });

  it("returns zeros in place of the states of a medium", () => {
    const { states, cached } = mediaEncoder().zeroStates("image");
    assert.deepEqual([states.shape, cached], [[encoder.depth, encoder.width], true]);
    assert.ok(states.data.every((value) => value === 0));
  });

  it("rejects invalid media with the appropriate error code", async () => {
    const own = mediaEncoder({ mediaLimits: { image: { maxPixels: 3000 } }, stateCacheBytes: 1e6 });
    const wrong = [
      [Buffer.from("no picture"), "unsupported_media"],
      [png.subarray(0, 300), "invalid_media"],
      [await picture(7, 100, 100), "too_large"],
      ["nowhere.png", "not_found"],
      [{ pixels: new Float32Array(5) }, "invalid_option"],
      [{ states: { type: "float32", shape: [1, 2], data: new Float32Array(2) } }, "invalid_option"],
    ] as const;
    for (const [input, code] of wrong) await assert.rejects(own.encode(input), { code });
    assert.equal(own.counts.cacheBytes, 0);
    assert.equal((await own.encode(png)).cached, false);
  });

  it("stops cancelled requests before and after decoding", async () => {
    const own = mediaEncoder();
    await assert.rejects(own.encode(png, undefined, AbortSignal.abort()), { code: "aborted" });
    const controller = new AbortController();
    const taken = own.encode(png, undefined, controller.signal);
    controller.abort();
    await assert.rejects(taken, { code: "aborted" });
    assert.equal(own.counts.examples, 0);
  });
});
