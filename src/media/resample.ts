import type { ImageSize, Resample } from "../preprocessing/image-preprocessing.js";
import { cubic, type Filter, filterTaps, resizedAxis } from "../tensor/filter-taps.js";

/** Pixels in memory: `[height, width, 3]`, row-major, in the order red, green, blue. */
export interface RgbImage extends ImageSize {
  readonly data: Uint8Array;
}

/** Like `RgbImage`, with values from 0 to 255 that are not rounded. */
export interface FloatImage extends ImageSize {
  readonly data: Float32Array;
}

const CHANNELS = 3;

/**
 * Resizes to `size` with the same bits as Pillow's `Image.resize` (libImaging/Resample.c, Geometry.c). The filter is
 * widened when the image is reduced; it is applied along rows and then along columns, in 22-bit fixed point with
 * rounding to bytes in between. libvips would be faster, but it shifts enlarged images by half an output pixel
 * (difference from Pillow for photographs enlarged from 100 to 224 pixels: 5 of 255 on average, 80 at most).
 */
export function resample(image: RgbImage, size: ImageSize, method: Resample): RgbImage {
  if (method === "nearest") return pickNearest(image, size);
  const filter = filters[method];
  const narrowed = image.width === size.width ? image : filterRows(image, size.width, filter);
  return image.height === size.height ? narrowed : filterColumns(narrowed, size.height, filter);
}

/**
 * Resizes without rounding, like torchvision's `resize` of floats with `antialias`: rows first, then columns. Values of
 * `bicubic` and `lanczos` may lie outside 0 to 255.
 */
export function resampleFloats(image: RgbImage, size: ImageSize, method: Resample): FloatImage {
  if (method === "nearest") return { ...size, data: Float32Array.from(pickNearest(image, size).data) };
  const { height, width, data } = image;
  const tapsOf = (from: number, to: number) => filterTaps(from, to, filters[method]);
  const columns = { outer: height, from: width, inner: CHANNELS };
  const narrowed = resizedAxis(data, columns, tapsOf(width, size.width));
  const rows = { outer: 1, from: height, inner: size.width * CHANNELS };
  return { ...size, data: Float32Array.from(resizedAxis(narrowed, rows, tapsOf(height, size.height))) };
}

const filters: Readonly<Record<Exclude<Resample, "nearest">, Filter>> = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { support: 2, weight: (x) => cubic(x, -0.5) },
  lanczos: { support: 3, weight: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

function sinc(x: number): number {
  if (x === 0) return 1;
  const angle = x * Math.PI;
  return Math.sin(angle) / angle;
}

/** Fractional bits of a weight: 32 minus 8 for the value and 2 for weights above 1. */
const PRECISION = 22;
const ROUND = 1 << (PRECISION - 1);

/** For each output position: the first source position, and the weights, stored with a stride of `taps`. */
interface Weights {
  readonly taps: number;
  readonly first: Int32Array;
  readonly count: Int32Array;
  readonly values: Int32Array;
}

function weightsOf(from: number, to: number, filter: Filter): Weights {
  const all = filterTaps(from, to, filter);
  const taps = Math.max(...all.map(({ weights }) => weights.length));
  const first = Int32Array.from(all, (tap) => tap.first);
  const count = Int32Array.from(all, ({ weights }) => weights.length);
  const values = new Int32Array(to * taps);
  all.forEach(({ weights }, position) => {
    values.set(weights.map(fixedPoint), position * taps);
  });
  return { taps, first, count, values };
}

function fixedPoint(value: number): number {
  return Math.trunc(value * (1 << PRECISION) + (value < 0 ? -0.5 : 0.5));
}

/** `[H, W, 3]` -> `[H, width, 3]`. */
function filterRows(image: RgbImage, width: number, filter: Filter): RgbImage {
  const { height } = image;
  const weights = weightsOf(image.width, width, filter);
  const data = new Uint8Array(height * width * CHANNELS);
  for (let x = 0; x < width; x++) {
    const window = windowAt(weights, x);
    for (let y = 0; y < height; y++) {
      const source = (y * image.width + window.first) * CHANNELS;
      weigh(image.data, source, CHANNELS, window.values, data, (y * width + x) * CHANNELS);
    }
  }
  return { height, width, data };
}

/** `[H, W, 3]` -> `[height, W, 3]`. */
function filterColumns(image: RgbImage, height: number, filter: Filter): RgbImage {
  const { width } = image;
  const weights = weightsOf(image.height, height, filter);
  const row = width * CHANNELS;
  const data = new Uint8Array(height * row);
  for (let y = 0; y < height; y++) {
    const window = windowAt(weights, y);
    for (let x = 0; x < row; x += CHANNELS) {
      weigh(image.data, window.first * row + x, row, window.values, data, y * row + x);
    }
  }
  return { height, width, data };
}

function windowAt({ taps, first, count, values }: Weights, position: number) {
  const start = position * taps;
  return { first: first[position] ?? 0, values: values.subarray(start, start + (count[position] ?? 0)) };
}

/** Computes one pixel at `at`: each channel is the weighted sum of values from `start` on with a stride of `step`. */
function weigh(
  source: Uint8Array,
  start: number,
  step: number,
  weights: Int32Array,
  target: Uint8Array,
  at: number,
): void {
  let red = ROUND;
  let green = ROUND;
  let blue = ROUND;
  for (let tap = 0, index = start; tap < weights.length; tap++, index += step) {
    const weight = weights[tap] ?? 0;
    red += weight * (source[index] ?? 0);
    green += weight * (source[index + 1] ?? 0);
    blue += weight * (source[index + 2] ?? 0);
  }
  target[at] = toByte(red);
  target[at + 1] = toByte(green);
  target[at + 2] = toByte(blue);
}

function toByte(fixed: number): number {
  return Math.min(255, Math.max(0, fixed >> PRECISION));
}

function pickNearest(image: RgbImage, { height, width }: ImageSize): RgbImage {
  const rows = nearestIndices(image.height, height);
  const columns = nearestIndices(image.width, width);
  const data = new Uint8Array(height * width * CHANNELS);
  let at = 0;
  for (const y of rows) {
    for (const x of columns) {
      const from = (y * image.width + x) * CHANNELS;
      data.set(image.data.subarray(from, from + CHANNELS), at);
      at += CHANNELS;
    }
  }
  return { height, width, data };
}

/** Like Pillow, adds the step repeatedly instead of multiplying it, because the last bit decides between neighbours. */
function nearestIndices(from: number, to: number): number[] {
  const step = from / to;
  let position = step * 0.5;
  return Array.from({ length: to }, () => {
    const index = Math.min(from - 1, Math.trunc(position));
    position += step;
    return index;
  });
}
