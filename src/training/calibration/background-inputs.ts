import { at } from "../../core/at.js";
import { type Random, randomStreams } from "../../core/random.js";
import type { EncoderManifest } from "../../model/manifest.js";
import { elementCount } from "../../tensor/tensor.js";

/**
 * Generated encoder inputs that belong to no domain: fields of noise with all spectra from white to smooth, overlapping
 * shapes, and strokes (structured noise as in Baradad et al. 2021, "Learning to See by Looking at Noise", arXiv
 * 2106.05963). Audio gets them as log-mel features, and video as pictures that move.
 */

/** An image with values from 0 to 1: [channels, height, width]. */
class Canvas {
  readonly data: Float32Array;
  readonly #channels: number;
  readonly height: number;
  readonly width: number;

  constructor(channels: number, height: number, width: number) {
    this.#channels = channels;
    this.height = height;
    this.width = width;
    this.data = new Float32Array(channels * height * width);
  }

  put(x: number, y: number, color: readonly number[]): void {
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return;
    this.fill((channel) => at(color, channel), x, y, x + 1, y + 1);
  }

  fill(
    value: (channel: number, x: number, y: number) => number,
    left = 0,
    top = 0,
    right = this.width,
    bottom = this.height,
  ): void {
    for (let channel = 0; channel < this.#channels; channel++) {
      for (let y = top; y < bottom; y++) {
        for (let x = left; x < right; x++) {
          this.data[(channel * this.height + y) * this.width + x] = value(channel, x, y);
        }
      }
    }
  }
}

/** Paints a canvas; `side` is the scale of what it paints. */
type Painter = (canvas: Canvas, random: Random, side: number) => void;
const painters: readonly Painter[] = [paintNoise, paintShapes, paintStrokes];

/** Share of black and white among the colours. */
const PLAIN_COLORS = 0.3;

/** Red, green and blue: saturated, grey, black or white. */
function someColor(random: Random): readonly number[] {
  if (random() < PLAIN_COLORS) return new Array(3).fill(random() < 0.65 ? 1 - 0.05 * random() : 0.1 * random());
  const grey = random();
  const saturation = random() ** 2;
  return Array.from({ length: 3 }, () => grey * (1 - saturation) + random() * saturation);
}

/** The amplitude of noise is proportional to this power of its scale, at most: 1 for 1/f noise. */
const MAX_POWER = 1.2;
const LARGEST_CELL = 64;

/** A field of noise with mean 0 and variance 1: random values at the nodes of grids, each twice as coarse. */
function noiseField({ height, width }: Canvas, random: Random, power: number): Float32Array {
  const field = new Float32Array(height * width);
  for (let cell = 1; cell <= LARGEST_CELL; cell *= 2) {
    const columns = Math.ceil(width / cell) + 2;
    const nodes = Float32Array.from({ length: columns * (Math.ceil(height / cell) + 2) }, () => random() - 0.5);
    const amplitude = cell ** power;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [i, j] = [Math.floor(x / cell), Math.floor(y / cell)];
        const [a, b] = [x / cell - i, y / cell - j];
        const node = j * columns + i;
        const upper = at(nodes, node) * (1 - a) + at(nodes, node + 1) * a;
        const lower = at(nodes, node + columns) * (1 - a) + at(nodes, node + columns + 1) * a;
        field[y * width + x] = at(field, y * width + x) + amplitude * (upper * (1 - b) + lower * b);
      }
    }
  }
  const centre = field.reduce((sum, value) => sum + value, 0) / field.length;
  const deviation = Math.sqrt(field.reduce((sum, value) => sum + (value - centre) ** 2, 0) / field.length) || 1;
  return field.map((value) => (value - centre) / deviation);
}

function paintNoise(canvas: Canvas, random: Random): void {
  const power = random() * (MAX_POWER + 1) - 1;
  const shared = random();
  const contrast = 0.05 + 0.35 * random();
  const base = someColor(random);
  const common = noiseField(canvas, random, power);
  const own = base.map(() => noiseField(canvas, random, power));
  canvas.fill((channel, x, y) => {
    const place = y * canvas.width + x;
    return at(base, channel) + contrast * (shared * at(common, place) + (1 - shared) * at(at(own, channel), place));
  });
}

/** A plain colour, or a gradient from one to another. */
function paintGround(canvas: Canvas, random: Random): void {
  const [from, to] = [someColor(random), someColor(random)];
  const angle = 2 * Math.PI * random();
  const isPlain = random() < 0.5;
  canvas.fill((channel, x, y) => {
    const along = (x / canvas.width - 0.5) * Math.cos(angle) + (y / canvas.height - 0.5) * Math.sin(angle);
    const share = isPlain ? 0 : 0.5 + along;
    return at(from, channel) * (1 - share) + at(to, channel) * share;
  });
}

/** Each takes coordinates in which the shape has the radius 1. */
const shapes: readonly ((u: number, v: number) => boolean)[] = [
  (u, v) => u * u + v * v < 1,
  (u, v) => Math.abs(u) < 0.9 && Math.abs(v) < 0.9,
  (u, v) => v > -0.8 && v < 1 - 2 * Math.abs(u),
];

/** Overlapping shapes of random sizes, colours and directions: "dead leaves". */
function paintShapes(canvas: Canvas, random: Random, side: number): void {
  paintGround(canvas, random);
  const count = Math.floor(2 * 50 ** random()) + 1;
  for (let index = 0; index < count; index++) {
    const color = someColor(random);
    const [x0, y0] = [random() * canvas.width, random() * canvas.height];
    const radius = (side * 0.5 * (0.05 + 0.95 * random())) / Math.sqrt(1 + count / 6);
    const flatness = 0.3 + 0.7 * random();
    const angle = Math.PI * random();
    const isInside = at(shapes, Math.floor(random() * shapes.length));
    const reach = Math.ceil(radius * 1.5);
    for (let y = Math.floor(y0) - reach; y <= y0 + reach; y++) {
      for (let x = Math.floor(x0) - reach; x <= x0 + reach; x++) {
        const u = ((x - x0) * Math.cos(angle) + (y - y0) * Math.sin(angle)) / radius;
        const v = ((y - y0) * Math.cos(angle) - (x - x0) * Math.sin(angle)) / (radius * flatness);
        if (isInside(u, v)) canvas.put(x, y, color);
      }
    }
  }
}

/** Broken lines of one thickness, in rows or anywhere. */
function paintStrokes(canvas: Canvas, random: Random, side: number): void {
  paintGround(canvas, random);
  const color = someColor(random);
  const hasColors = random() < 0.4;
  const inRows = random() < 0.5;
  const count = Math.floor(3 * 60 ** random());
  const length = side * (0.02 + 0.5 * random() ** 2);
  const thickness = Math.ceil((side / 112) * (1 + Math.floor(4 * random() * random())));
  const row = side * (0.03 + 0.12 * random());
  for (let index = 0; index < count; index++) {
    const own = hasColors ? someColor(random) : color;
    let x = random() * canvas.width;
    let y = random() * canvas.height;
    if (inRows) y = Math.floor(y / row) * row + (random() - 0.5) * row * 0.4;
    let angle = 2 * Math.PI * random();
    if (random() < 0.4) angle = Math.round(angle / (Math.PI / 2)) * (Math.PI / 2);
    for (let left = 1 + Math.floor(3 * random()); left > 0; left--) {
      paintLine(canvas, { x, y, angle, length, thickness }, own);
      x += length * Math.cos(angle);
      y += length * Math.sin(angle);
      angle += 3 * (random() - 0.5);
    }
  }
}

interface Line {
  readonly x: number;
  readonly y: number;
  readonly angle: number;
  readonly length: number;
  readonly thickness: number;
}

function paintLine(canvas: Canvas, { x, y, angle, length, thickness }: Line, color: readonly number[]): void {
  const points = Math.ceil(length * 1.5) + 1;
  for (let point = 0; point <= points; point++) {
    const along = (length * point) / points;
    const [left, top] = [Math.round(x + along * Math.cos(angle)), Math.round(y + along * Math.sin(angle))];
    for (let i = 0; i < thickness; i++) for (let j = 0; j < thickness; j++) canvas.put(left + i, top + j, color);
  }
}

/** Features of audio are normalised to about this standard deviation, with mean 0. */
const FEATURE_RANGE = 3;

/** The `index`-th generated input of an encoder, always the same. */
export function backgroundInput(encoder: EncoderManifest, index: number): Float32Array {
  const [random = Math.random] = randomStreams(index, 1);
  const paint = at(painters, index % painters.length);
  switch (encoder.modality) {
    case "image": {
      const { size, ...values } = encoder.preprocessing;
      return normalised(painted(paint, random, 3, size.height, size.width), values);
    }
    case "audio": {
      const [frames = 1, bins = 1] = encoder.inputShape;
      return painted(paint, random, 1, frames, bins).data.map((value) => FEATURE_RANGE * (clamped(value) - 0.5));
    }
    case "video": {
      const { picture } = encoder.preprocessing;
      const [frames = 1] = encoder.inputShape;
      return moving(paint, random, { frames, ...picture.size }, (canvas) => normalised(canvas, picture));
    }
  }
}

function painted(paint: Painter, random: Random, channels: number, height: number, width: number): Canvas {
  const canvas = new Canvas(channels, height, width);
  paint(canvas, random, Math.min(height, width));
  return canvas;
}

interface Clip {
  readonly frames: number;
  readonly height: number;
  readonly width: number;
}

/** A picture that is larger than the frames, which show one part of it after the other. */
function moving(paint: Painter, random: Random, clip: Clip, values: (frame: Canvas) => Float32Array): Float32Array {
  const { frames, height, width } = clip;
  const [right, down] = [0, 0].map(() => Math.floor((random() - 0.5) * 0.2 * Math.min(height, width)));
  const [dx, dy] = [right ?? 0, down ?? 0];
  const [extraX, extraY] = [Math.abs(dx) * (frames - 1), Math.abs(dy) * (frames - 1)];
  const whole = painted(paint, random, 3, height + extraY, width + extraX);
  const result = new Float32Array(frames * 3 * height * width);
  for (let index = 0; index < frames; index++) {
    const left = dx > 0 ? dx * index : extraX + dx * index;
    const top = dy > 0 ? dy * index : extraY + dy * index;
    const frame = new Canvas(3, height, width);
    frame.fill((channel, x, y) => at(whole.data, (channel * whole.height + top + y) * whole.width + left + x));
    result.set(values(frame), (index * result.length) / frames);
  }
  return result;
}

interface Values {
  readonly rescaleFactor: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

function normalised({ data, height, width }: Canvas, { rescaleFactor, mean, std }: Values): Float32Array {
  const plane = elementCount([height, width]);
  return data.map((value, index) => {
    const channel = Math.floor(index / plane);
    return (255 * clamped(value) * rescaleFactor - at(mean, channel)) / at(std, channel);
  });
}

function clamped(value: number): number {
  return Math.min(1, Math.max(0, value));
}
