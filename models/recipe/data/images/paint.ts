import { type Random, randomStreams } from "../../../../src/core/random.js";
import { imagenetPreprocessing } from "../../../../src/preprocessing/image-preprocessing.js";
import { type Arranged, COLOR_JITTER, colors, shadeOf } from "./draw-scene.js";
import { type Look, RASTER_SIDES, type Raster } from "./icon-looks.js";
import type { Background } from "./scene.js";

/**
 * Paints objects on backgrounds pixel by pixel: with less finish than `SceneArtist`, but in a thirtieth of the time.
 */

/** A square image [side, side, 3] with values from 0 to 255. */
export interface PaintedImage {
  readonly side: number;
  readonly pixels: Float32Array;
}

const NOISE_SHARE = 0.5;
/** Maximum noise, for values from 0 to 255. */
const MOST_NOISE = 14;

/** Paints a background like that of `SceneArtist`, but without smooth edges. */
export function paintBackground({ color, texture }: Background, side: number, random: Random): PaintedImage {
  const base = colors[color].map((value) => value + COLOR_JITTER * (2 * random() - 1));
  const shade = base.map(shadeOf);
  const step = 8 + Math.round(8 * random());
  const angle = texture === "striped" ? Math.PI * random() : 0;
  const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
  const shaded = isShaded[texture];
  const pixels = new Float32Array(3 * side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const u = fraction((cosine * x + sine * y) / step);
      const v = fraction((cosine * y - sine * x) / step);
      const rgb = shaded(u, v) ? shade : base;
      const at = 3 * (y * side + x);
      for (let c = 0; c < 3; c++) pixels[at + c] = rgb[c] as number;
    }
  }
  return { side, pixels };
}

/** Whether a point of a pattern's square is shaded. */
const isShaded: Readonly<Record<Background["texture"], (u: number, v: number) => boolean>> = {
  plain: () => false,
  striped: (u) => u < 0.5,
  dotted: (u, v) => (u - 0.5) ** 2 + (v - 0.5) ** 2 < 1 / 16,
  checkered: (u, v) => u < 0.5 === v < 0.5,
};

function fraction(value: number): number {
  return value - Math.floor(value);
}

/** Paints an object at its position; parts outside the image are dropped. */
export function paintThing({ side, pixels }: PaintedImage, look: Look, arranged: Arranged): void {
  const { stretch, isMirrored } = look;
  const rasterSide = RASTER_SIDES.find((known) => known * 1.25 >= arranged.size) ?? RASTER_SIDES[1];
  const drawings = look.drawings.map(({ raster, share }) => ({
    raster: rasterOf(raster, rasterSide),
    share,
  }));
  const turn = ((arranged.degrees + look.degrees) * Math.PI) / 180;
  const [cosine, sine] = [Math.cos(turn), Math.sin(turn)];
  const across = (isMirrored ? -1 : 1) / (arranged.size * stretch);
  const down = stretch / arranged.size;
  const reach = arranged.size * 0.8;
  const top = Math.max(0, Math.floor(arranged.y - reach));
  const left = Math.max(0, Math.floor(arranged.x - reach));
  const color = new Float32Array(4);
  for (let y = top; y < Math.min(side, arranged.y + reach); y++) {
    for (let x = left; x < Math.min(side, arranged.x + reach); x++) {
      const [dx, dy] = [x + 0.5 - arranged.x, y + 0.5 - arranged.y];
      const u = (cosine * dx + sine * dy) * across + 0.5;
      const v = (cosine * dy - sine * dx) * down + 0.5;
      if (u < 0 || u >= 1 || v < 0 || v >= 1 || look.isHidden(u, v)) continue;
      color.fill(0);
      for (const { raster, share } of drawings) addColor(color, raster, rasterSide, u, v, share);
      const opacity = color[3] as number;
      if (opacity === 0) continue;
      look.recolor(color, look.lit(u, v));
      const at = 3 * (y * side + x);
      for (let c = 0; c < 3; c++) {
        pixels[at + c] = (pixels[at + c] as number) * (1 - opacity) + (color[c] as number);
      }
    }
  }
}

function rasterOf(raster: Raster, side: number): Uint8Array {
  return raster.get(side) ?? new Uint8Array(4 * side * side);
}

/**
 * Adds the interpolated colour at a point, given in fractions of the side, times its opacity; and the opacity from 0 to
 * 1.
 */
function addColor(color: Float32Array, raster: Uint8Array, side: number, u: number, v: number, share: number) {
  const [x, y] = [u * side - 0.5, v * side - 0.5];
  const [left, top] = [Math.floor(x), Math.floor(y)];
  for (let corner = 0; corner < 4; corner++) {
    const [i, j] = [left + (corner & 1), top + (corner >> 1)];
    if (i < 0 || i >= side || j < 0 || j >= side) continue;
    const at = 4 * (j * side + i);
    const near = (1 - Math.abs(x - i)) * (1 - Math.abs(y - j));
    const weight = (share * near * (raster[at + 3] as number)) / 255;
    color[0] = (color[0] as number) + weight * (raster[at] as number);
    color[1] = (color[1] as number) + weight * (raster[at + 1] as number);
    color[2] = (color[2] as number) + weight * (raster[at + 2] as number);
    color[3] = (color[3] as number) + weight;
  }
}

/** The largest change of a value by noise; 0 for many images. */
export function randomNoise(random: Random): number {
  return random() < NOISE_SHARE ? MOST_NOISE * random() : 0;
}

/** Adds noise of at most `most` in either direction. Values stay within 0 to 255. */
export function addNoise({ pixels }: PaintedImage, most: number, random: Random): void {
  const first = Math.floor(random() * noise.length);
  for (let i = 0; i < pixels.length; i++) {
    const value = (pixels[i] as number) + most * (noise[(first + i) % noise.length] as number);
    pixels[i] = Math.min(255, Math.max(0, value));
  }
}

/**
 * Values from -1 to 1, read from a random offset for each image: drawing a number per value would take longer than
 * everything else.
 */
const noise = makeNoise();

function makeNoise(): Float32Array {
  const [random = Math.random] = randomStreams(0, 1);
  return Float32Array.from({ length: 100_003 }, () => 2 * random() - 1);
}

/** The normalised input of an encoder: [3, side, side]. */
export function scaledImage({ side, pixels }: PaintedImage): Float32Array {
  const { mean, std } = imagenetPreprocessing(side);
  const count = side * side;
  const scaled = new Float32Array(3 * count);
  for (const c of [0, 1, 2] as const) {
    for (let i = 0; i < count; i++) {
      scaled[c * count + i] = ((pixels[3 * i + c] as number) / 255 - mean[c]) / std[c];
    }
  }
  return scaled;
}
