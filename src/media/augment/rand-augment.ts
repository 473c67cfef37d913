import { at } from "../../core/at.js";
import type { Random } from "../../core/random.js";
import type { RgbImage } from "../resample.js";

/** Levels of the operations reach from 0 to 10. */
export const MAX_MAGNITUDE = 10;

/**
 * The ten operations of RandAugment (arXiv 1909.13719) that eP-ALM, like ALBEF, uses for images with texts: none of
 * them changes colours. Source of the formulas: their description in terms of Pillow's and OpenCV's functions.
 *
 * @param level magnitude, as a fraction of the largest
 * @param sign -1 or 1, the direction of geometric operations
 */
type Operation = (image: RgbImage, level: number, sign: number) => RgbImage;

/** Grey, in place of pixels from outside the image. */
const FILL = 128;

/** The largest shear, rotation in degrees, and translation in pixels. */
const [SHEAR, ROTATION, TRANSLATION] = [0.3, 30, 10];

export const operations = {
  identity: (image) => image,
  autoContrast: (image) => throughTables(image, autoContrastTable),
  equalize: (image) => throughTables(image, equalizeTable),
  brightness: (image, level) => throughTables(image, () => tableOf((value) => value * enhancement(level))),
  sharpness: (image, level) => sharpened(image, enhancement(level)),
  shearX: (image, level, sign) => warped(image, [1, -sign * level * SHEAR, 0, 0, 1, 0]),
  shearY: (image, level, sign) => warped(image, [1, 0, 0, -sign * level * SHEAR, 1, 0]),
  translateX: (image, level, sign) => warped(image, [1, 0, sign * level * TRANSLATION, 0, 1, 0]),
  translateY: (image, level, sign) => warped(image, [1, 0, 0, 0, 1, sign * level * TRANSLATION]),
  rotate: (image, level, sign) => rotated(image, sign * level * ROTATION),
} as const satisfies Readonly<Record<string, Operation>>;

const PROBABILITY = 0.5;

/** Draws `operations` operations, with repetition, and applies each with probability 0.5. */
export function randAugment(
  image: RgbImage,
  { operations: count, magnitude }: { readonly operations: number; readonly magnitude: number },
  random: Random,
): RgbImage {
  const all: readonly Operation[] = Object.values(operations);
  const drawn = Array.from({ length: count }, () => ({
    operation: at(all, Math.floor(random() * all.length)),
    isApplied: random() < PROBABILITY,
    sign: random() < 0.5 ? -1 : 1,
  }));
  return drawn.reduce(
    (changed, { operation, isApplied, sign }) =>
      isApplied ? operation(changed, magnitude / MAX_MAGNITUDE, sign) : changed,
    image,
  );
}

/** The factor of brightness and sharpness: 1 leaves an image unchanged. */
function enhancement(level: number): number {
  return 0.1 + 1.8 * level;
}

/** The new value of each byte value; fractions are cut off. */
function tableOf(value: (byte: number) => number): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => Math.min(255, Math.max(0, value(byte))));
}

/** Replaces the values of each channel; the table may depend on how often each value occurs in the channel. */
function throughTables({ height, width, data }: RgbImage, table: (counts: readonly number[]) => Uint8Array): RgbImage {
  const output = new Uint8Array(data.length);
  for (let channel = 0; channel < 3; channel++) {
    const counts = new Array<number>(256).fill(0);
    for (let index = channel; index < data.length; index += 3) {
      const byte = data[index] ?? 0;
      counts[byte] = (counts[byte] ?? 0) + 1;
    }
    const values = table(counts);
    for (let index = channel; index < data.length; index += 3) output[index] = values[data[index] ?? 0] ?? 0;
  }
  return { height, width, data: output };
}

/** Stretches the values to 0…255. */
function autoContrastTable(counts: readonly number[]): Uint8Array {
  const low = counts.findIndex((count) => count > 0);
  const high = counts.findLastIndex((count) => count > 0);
  if (high <= low) return tableOf((byte) => byte);
  const scale = 255 / (high - low);
  return tableOf((byte) => byte * scale - low * scale);
}

/** Makes all values about equally frequent, as Pillow's `ImageOps.equalize`. */
function equalizeTable(counts: readonly number[]): Uint8Array {
  const occurring = counts.filter((count) => count > 0);
  const step = Math.floor(occurring.slice(0, -1).reduce((sum, count) => sum + count, 0) / 255);
  if (step === 0) return tableOf((byte) => byte);
  let before = Math.floor(step / 2);
  return tableOf((byte) => {
    const value = Math.floor(before / step);
    before += counts[byte] ?? 0;
    return value;
  });
}

/** Blends an image with a smoothed one, as Pillow's `ImageEnhance.Sharpness`; the border is unchanged. */
function sharpened({ height, width, data }: RgbImage, factor: number): RgbImage {
  const output = Uint8Array.from(data);
  const row = width * 3;
  for (let y = 1; y < height - 1; y++) {
    for (let index = y * row + 3; index < (y + 1) * row - 3; index++) {
      const pixel = data[index] ?? 0;
      let sum = 4 * pixel;
      for (const line of [index - row, index, index + row]) {
        sum += (data[line - 3] ?? 0) + (data[line] ?? 0) + (data[line + 3] ?? 0);
      }
      const smooth = Math.round(sum / 13);
      output[index] = Math.min(255, Math.max(0, smooth + factor * (pixel - smooth)));
    }
  }
  return { height, width, data: output };
}

/** Source coordinates: x = a X + b Y + c and y = d X + e Y + f for the output's pixel at X, Y. */
type Affine = readonly [a: number, b: number, c: number, d: number, e: number, f: number];

/** Rotates counter-clockwise around the centre. @param degrees angle */
function rotated(image: RgbImage, degrees: number): RgbImage {
  const [sin, cos] = [Math.sin((degrees * Math.PI) / 180), Math.cos((degrees * Math.PI) / 180)];
  const [x, y] = [image.width / 2, image.height / 2];
  return warped(image, [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y]);
}

/** Moves pixels, with bilinear interpolation; pixels from outside the image are grey. */
function warped({ height, width, data }: RgbImage, [a, b, c, d, e, f]: Affine): RgbImage {
  const output = new Uint8Array(data.length);
  const valueAt = (x: number, y: number, channel: number) =>
    x < 0 || y < 0 || x >= width || y >= height ? FILL : (data[(y * width + x) * 3 + channel] ?? 0);
  for (let row = 0, index = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const [x, y] = [a * column + b * row + c, d * column + e * row + f];
      const [left, top] = [Math.floor(x), Math.floor(y)];
      const [right, bottom] = [x - left, y - top];
      for (let channel = 0; channel < 3; channel++, index++) {
        const mix = (line: number) =>
          valueAt(left, line, channel) * (1 - right) + valueAt(left + 1, line, channel) * right;
        output[index] = Math.round(mix(top) * (1 - bottom) + mix(top + 1) * bottom);
      }
    }
  }
  return { height, width, data: output };
}
