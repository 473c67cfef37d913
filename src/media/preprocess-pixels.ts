import type { ImagePreprocessing, ImageSize, Resize } from "../preprocessing/image-preprocessing.js";
import { type Augmentation, contentRandom } from "./augment/augmentation.js";
import { randAugment } from "./augment/rand-augment.js";
import { cropped, mirrored, randomCrop } from "./augment/random-crop.js";
import { type FloatImage, type RgbImage, resample, resampleFloats } from "./resample.js";

/**
 * Converts decoded pixels to an encoder's input: resize, centre crop, rescale, normalise. Returns `[3, H, W]`,
 * row-major, where H x W is `preprocessing.size`. It runs on the calling thread, so `image` should already be reduced
 * to roughly the required size.
 *
 * @param augmentation random changes before the normalisation. Default: none.
 */
export function preprocessPixels(
  image: RgbImage,
  preprocessing: ImagePreprocessing,
  augmentation?: Augmentation,
): Float32Array {
  const resized = augmentation
    ? augmented(image, preprocessing, augmentation)
    : resizeAs(preprocessing)(
        firstResized(image, preprocessing),
        resizedSize(image, preprocessing.resize),
        preprocessing.resample,
      );
  return normalize(resized, preprocessing);
}

/** The image whose longer side was resized first, if the preprocessing states that. */
function firstResized(image: RgbImage, { resize, resample: method }: ImagePreprocessing): RgbImage {
  const first = firstSize(image, resize);
  return first ? resample(image, first, method) : image;
}

/** The size of the first of two resizes, as in Idefics3: the shorter side is rounded down, and up to an even number. */
export function firstSize({ height, width }: ImageSize, resize: Resize): ImageSize | undefined {
  if (resize.mode !== "squash" || resize.longestEdgeFirst === undefined) return undefined;
  const { longestEdgeFirst: longest } = resize;
  const shorter = (share: number) => Math.max(1, 2 * Math.ceil(Math.floor(share) / 2));
  return width >= height
    ? { height: shorter(longest / (width / height)), width: longest }
    : { height: longest, width: shorter(longest * (width / height)) };
}

function resizeAs({ resizedValues }: ImagePreprocessing): typeof resample | typeof resampleFloats {
  return resizedValues === "floats" ? resampleFloats : resample;
}

/** Augmented images always have bytes, because the random operations are defined on bytes. */
function augmented(image: RgbImage, preprocessing: ImagePreprocessing, augmentation: Augmentation): RgbImage {
  const { size, resize, resample: method } = preprocessing;
  const { randomResizedCrop, flip = 0, randAugment: operations } = augmentation.settings;
  const random = contentRandom(augmentation);
  const resized = randomResizedCrop
    ? resample(cropped(image, randomCrop(image, randomResizedCrop.scale, random)), size, method)
    : resample(image, resizedSize(image, resize), method);
  const turned = random() < flip ? mirrored(resized) : resized;
  return operations ? randAugment(turned, operations, random) : turned;
}

/** The size to which an image is resized before the crop; the longer side is rounded down, as in Hugging Face. */
export function resizedSize({ height, width }: ImageSize, resize: Resize): ImageSize {
  if (resize.mode === "squash") return { height: resize.height, width: resize.width };
  const { length } = resize;
  return height <= width
    ? { height: length, width: Math.floor((length * width) / height) }
    : { height: Math.floor((length * height) / width), width: length };
}

/** Crops `[H', W', 3]` to `[3, H, W]` floats; an odd border is one pixel wider at the right and at the bottom. */
function normalize(image: RgbImage | FloatImage, { size, rescaleFactor, mean, std }: ImagePreprocessing): Float32Array {
  const top = Math.floor((image.height - size.height) / 2);
  const left = Math.floor((image.width - size.width) / 2);
  const plane = size.height * size.width;
  const output = new Float32Array(3 * plane);
  for (const channel of [0, 1, 2] as const) {
    const scaled = (value: number) => (value * rescaleFactor - mean[channel]) / std[channel];
    const levels = Float32Array.from({ length: 256 }, (_, byte) => scaled(byte));
    const normalized = image.data instanceof Uint8Array ? (byte: number) => levels[byte] ?? 0 : scaled;
    let at = channel * plane;
    for (let y = 0; y < size.height; y++) {
      const row = (top + y) * image.width + left;
      for (let x = 0; x < size.width; x++, at++) {
        output[at] = normalized(image.data[(row + x) * 3 + channel] ?? 0);
      }
    }
  }
  return output;
}
