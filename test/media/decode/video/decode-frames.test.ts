import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { EpalmError } from "../../../../src/core/errors.js";
import { decodeImage } from "../../../../src/media/decode/image/image.js";
import { decodeFrames } from "../../../../src/media/decode/video/decode-frames.js";
import { publishedPreprocessing } from "../../../../src/preprocessing/image-preprocessing.js";
import { picture } from "../../../support/tiny-model.js";

const preprocessing = publishedPreprocessing(8);

async function pictures(count: number): Promise<Uint8Array[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => picture(3 + 11 * index, 12, 10)));
}

describe("a clip as a list of images", () => {
  for (const [count, chosen] of [
    [8, [0, 2, 4, 6]],
    [4, [0, 1, 2, 3]],
    [2, [0, 1, 1, 1]],
  ] as const) {
    it(`gives 4 frames of ${count} images, as of a video with ${count} frames`, async () => {
      const images = await pictures(count);
      const decoded = await decodeFrames({ frames: images }, { frames: 4, preprocessing });
      const expected = chosen.map((index) => decodeImage(images[index] ?? new Uint8Array(), preprocessing));
      assert.deepEqual(decoded, await Promise.all(expected));
    });
  }

  it("names the image that cannot be decoded", async () => {
    const images = [...(await pictures(2)), Buffer.from("no image")];
    await assert.rejects(decodeFrames({ frames: images }, { frames: 3, preprocessing }), (error) => {
      assert.ok(error instanceof EpalmError);
      assert.match(error.message, /^media\[2\]: expected an image/);
      return true;
    });
  });
});
