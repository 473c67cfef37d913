import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import sharp from "sharp";
import { randomStreams } from "../../../src/core/random.js";
import { augmentFeatures } from "../../../src/media/augment/augment-features.js";
import { type AugmentSettings, augmentSettingsSchema } from "../../../src/media/augment/augment-settings.js";
import type { Augmentation } from "../../../src/media/augment/augmentation.js";
import { cropped, mirrored, randomCrop } from "../../../src/media/augment/random-crop.js";
import { handOverSize } from "../../../src/media/decode/image/sharp-pixels.js";
import { chooseFrames } from "../../../src/media/decode/video/choose-frames.js";
import { decodeVideo } from "../../../src/media/decode/video/decode-video.js";
import { encoderInput } from "../../../src/media/encoder-input.js";
import { publishedAudioPreprocessing } from "../../../src/preprocessing/audio-preprocessing.js";
import { imagePreprocessingSchema, publishedPreprocessing } from "../../../src/preprocessing/image-preprocessing.js";
import { makeMedia, numbered, numberOf } from "../../support/make-media.js";

const seeds = Array.from({ length: 50 }, (_, seed) => seed);
const random = (seed: number) => randomStreams(seed, 1)[0] ?? Math.random;
const augmentationOf = (settings: AugmentSettings, seed = 0): Augmentation => ({ settings, seed });
const photo = join("test/fixtures/media", "photo-640x480.jpg");

describe("a random resized crop", () => {
  it("lies in the image, with the area and the aspect ratio of torchvision's", () => {
    for (const seed of seeds) {
      const { top, left, height, width } = randomCrop({ height: 480, width: 640 }, [0.5, 1], random(seed));
      assert.ok(top >= 0 && left >= 0 && top + height <= 480 && left + width <= 640);
      const [area, ratio] = [(height * width) / (480 * 640), width / height];
      assert.ok(area > 0.495 && area <= 1, String(area));
      assert.ok(ratio > 0.745 && ratio < 1.34, String(ratio));
    }
  });

  it("is the largest permitted box in the centre if no other fits", () => {
    const box = randomCrop({ height: 10, width: 1000 }, [0.9, 1], random(0));
    assert.deepEqual(box, { top: 0, left: 493, height: 10, width: 13 });
  });

  it("takes the pixels of its box, and a mirrored image has them in reverse", () => {
    const data = Uint8Array.from({ length: 3 * 4 * 3 }, (_, index) => index);
    const part = cropped({ height: 3, width: 4, data }, { top: 1, left: 2, height: 2, width: 2 });
    assert.deepEqual([...part.data], [18, 19, 20, 21, 22, 23, 30, 31, 32, 33, 34, 35]);
    assert.deepEqual([...mirrored(part).data], [21, 22, 23, 18, 19, 20, 33, 34, 35, 30, 31, 32]);
  });
});

describe("an augmented image", () => {
  const prepared = { modality: "image", preprocessing: publishedPreprocessing(48) } as const;
  const settings = { randomResizedCrop: { scale: [0.5, 1] }, flip: 0.5, randAugment: { operations: 2, magnitude: 7 } };
  const input = (augmentation?: Augmentation) => encoderInput(photo, prepared, {}, undefined, augmentation);
  const parsed = augmentSettingsSchema.parse(settings);

  it("depends only on its seed", async () => {
    const inputs = await Promise.all([1, 2, 1].map((seed) => input({ settings: parsed, seed })));
    assert.deepEqual(inputs[0], inputs[2]);
    assert.notDeepEqual(inputs[0], inputs[1]);
    assert.equal(inputs[0]?.length, 3 * 48 * 48);
  });

  it("is the unchanged image without operations", async () => {
    assert.deepEqual(await input({ settings: {}, seed: 1 }), await input());
  });

  it("shows a part of the image with the image's aspect ratio, if it is cropped", async () => {
    // A horizontal ramp of 0 to 199 in grey, larger than the size to which images are reduced before the crop.
    const ramp = Uint8Array.from({ length: 1000 * 500 * 3 }, (_, index) => (Math.floor(index / 3) % 1000) / 5);
    const bytes = await sharp(ramp, { raw: { width: 1000, height: 500, channels: 3 } })
      .png()
      .toBuffer();
    const grey = imagePreprocessingSchema.parse({
      ...prepared.preprocessing,
      ...{ rescaleFactor: 1, mean: [0, 0, 0], std: [1, 1, 1] },
    });
    const scale: [number, number] = [0.5, 1];
    const reduced = handOverSize(
      { height: 500, width: 1000 },
      grey.size,
      grey,
      augmentationOf({ randomResizedCrop: { scale } }),
    );
    assert.ok(reduced.width < 1000 && Math.abs(reduced.width / reduced.height - 2) < 0.02);
    for (const seed of seeds.slice(0, 4)) {
      const { left, width } = randomCrop(reduced, scale, random(seed));
      const augmentation = augmentationOf({ randomResizedCrop: { scale } }, seed);
      const pixels = await encoderInput(bytes, { modality: "image", preprocessing: grey }, {}, undefined, augmentation);
      const [first = 0, last = 0] = [pixels[48 * 24], pixels[48 * 24 + 47]];
      assert.ok(Math.abs(first / 200 - left / reduced.width) < 0.02, `${first} ${left}`);
      assert.ok(Math.abs((last - first) / 200 - width / reduced.width) < 0.03, `${last - first} ${width}`);
    }
  });
});

describe("augmented audio", () => {
  const preprocessing = publishedAudioPreprocessing({ maxLength: 200, melBins: 128 });
  const features = Float32Array.from({ length: 200 * 128 }, (_, index) => 1 + (index % 128) / 128 + index / 1e5);
  const silence = Math.fround(4.2677393 / (2 * 4.5689974));

  it("has one band of up to 24 mel bins and one range of up to 96 frames without energy", () => {
    const widths = seeds.map((seed) => {
      const settings = { specAugment: { frequency: 24, time: 96 } };
      const changed = augmentFeatures(features, preprocessing, { settings, seed });
      const masked = (frame: number, bin: number) => changed[frame * 128 + bin] === silence;
      const frames = Array.from({ length: 200 }, (_, frame) => frame).filter(
        (frame) => masked(frame, 0) && masked(frame, 127),
      );
      const free = Array.from({ length: 200 }, (_, frame) => frame).find((frame) => !frames.includes(frame)) ?? 0;
      const bins = Array.from({ length: 128 }, (_, bin) => bin).filter((bin) => masked(free, bin));
      for (const range of [frames, bins]) {
        assert.deepEqual(
          range,
          Array.from(range, (_, index) => (range[0] ?? 0) + index),
          "a range without gaps",
        );
      }
      for (let index = 0; index < features.length; index++) {
        const isMasked = frames.includes(Math.floor(index / 128)) || bins.includes(index % 128);
        assert.equal(changed[index], isMasked ? silence : features[index]);
      }
      return { frames: frames.length, bins: bins.length };
    });
    assert.ok(
      Math.max(...widths.map(({ frames }) => frames)) <= 96 && Math.max(...widths.map(({ bins }) => bins)) <= 24,
    );
    assert.ok(
      new Set(widths.map(({ frames }) => frames)).size > 20 && new Set(widths.map(({ bins }) => bins)).size > 10,
    );
  });

  it("has noise of less than 0.1 and is shifted by up to ten frames, which wrap around", () => {
    const shifts = seeds.map((seed) => {
      const changed = augmentFeatures(features, preprocessing, { settings: { noise: true }, seed });
      const fits = (shift: number) =>
        [0, 57, 199].every((frame) => {
          const to = ((frame + shift + 200) % 200) * 128;
          const noise = (changed[to] ?? 0) - (features[frame * 128] ?? 0);
          return noise > -1e-6 && noise < 0.1;
        });
      const fitting = Array.from({ length: 21 }, (_, index) => index - 10).filter(fits);
      assert.ok(fitting.length > 0, `seed ${seed}`);
      return fitting;
    });
    assert.ok(new Set(shifts.map(String)).size > 5);
  });

  it("depends only on its seed", () => {
    const settings = { specAugment: { frequency: 24, time: 96 }, noise: true };
    const [one, two, again] = [1, 2, 1].map((seed) => augmentFeatures(features, preprocessing, { settings, seed }));
    assert.deepEqual(one, again);
    assert.notDeepEqual(one, two);
  });
});

describe("random frames of a video", () => {
  const showings = Array.from({ length: 40 }, (_, index) => ({ time: index / 25, duration: 1 / 25 }));

  it("are one of each part of the video, and all of them occur", () => {
    const drawn = Array.from({ length: 300 }, (_, seed) => chooseFrames(showings, 4, random(seed)));
    for (const frames of drawn) {
      assert.deepEqual(
        frames.map((frame) => Math.floor(frame / 10)),
        [0, 1, 2, 3],
      );
    }
    assert.equal(new Set(drawn.flat()).size, 40);
    assert.deepEqual(chooseFrames(showings, 4), [4, 14, 24, 34]);
  });

  it("are decoded, and changed in the same way", async () => {
    const video = makeMedia("numbered.mkv", ...numbered(40), "-c:v", "ffv1");
    const preprocessing = publishedPreprocessing(32);
    const decode = async (augmentation?: Augmentation) => {
      const frames = await decodeVideo(video, { frames: 4, preprocessing, augmentation });
      const [mean, std] = [preprocessing.mean[0], preprocessing.std[0]];
      return frames.map((frame) => numberOf(((frame[0] ?? 0) * std + mean) * 255));
    };
    const settings = { randomFrames: true, flip: 0.5 };
    const expected = chooseFrames(showings, 4, randomStreams(7, 2)[1]);
    assert.deepEqual(await decode({ settings, seed: 7 }), expected);
    assert.notDeepEqual(expected, await decode());
    assert.deepEqual(await decode({ settings: { flip: 1 }, seed: 7 }), await decode());
  });
});
