import sharp, { type OutputInfo } from "sharp";
import { at } from "../../../../src/core/at.js";
import type { Random } from "../../../../src/core/random.js";
import type { Style } from "../text/concepts.js";
import { iconSvg } from "./draw-icon.js";
import type { Background, ColorName, Place, Scene } from "./scene.js";

/** Red, green and blue of the typical shade of each colour word. */
export const colors: Readonly<Record<ColorName, readonly [number, number, number]>> = {
  red: [214, 48, 44],
  orange: [244, 148, 36],
  yellow: [248, 220, 72],
  green: [72, 164, 76],
  blue: [58, 112, 212],
  purple: [134, 70, 176],
  pink: [246, 156, 196],
  brown: [134, 88, 56],
  black: [24, 24, 26],
  gray: [140, 142, 146],
  white: [250, 250, 250],
};

/** Maximum deviation of each channel of a background from its colour. */
export const COLOR_JITTER = 14;

/** Centre of an object by place, as fractions of the image's side. */
const centers: Readonly<Record<Place, readonly [x: number, y: number]>> = {
  middle: [0.5, 0.5],
  left: [0.27, 0.5],
  right: [0.73, 0.5],
  top: [0.5, 0.27],
  bottom: [0.5, 0.73],
  "top left": [0.27, 0.27],
  "top right": [0.73, 0.27],
  "bottom left": [0.27, 0.73],
  "bottom right": [0.73, 0.73],
};

/** Minimum and maximum side of objects as fractions of the image's side, by number of objects. */
const sizes: readonly (readonly [number, number])[] = [
  [0.5, 0.8],
  [0.34, 0.46],
  [0.34, 0.44],
  [0.34, 0.44],
];

const MOST_DEGREES = 15;
const BLUR_SHARE = 0.2;
const NOISE_SHARE = 0.3;
const MOST_NOISE = 12;

/** Side of the cached icons in pixels. They are cached because each is drawn many times. */
const RASTER_SIDE = 96;

/** Position of an object: its centre and side in pixels, and its rotation. The side is measured before rotation. */
export interface Arranged {
  readonly size: number;
  readonly degrees: number;
  readonly x: number;
  readonly y: number;
}

/** Positions of a scene's objects on an image of `side` pixels, with varying size, centre and rotation. */
export function arrange(scene: Scene, side: number, random: Random): Arranged[] {
  const between = betweenOf(random);
  const [least, most] = sizes[scene.objects.length - 1] ?? [0.3, 0.4];
  const slack = Math.max(0, 0.27 - most / 2);
  return scene.objects.map(({ place }) => {
    const size = Math.round(side * between(least, most));
    const degrees = between(-MOST_DEGREES, MOST_DEGREES);
    const [x, y] = centers[place];
    return {
      size,
      degrees,
      x: side * (x + between(-slack, slack)),
      y: side * (y + between(-slack, slack)),
    };
  });
}

function betweenOf(random: Random) {
  return (least: number, most: number) => least + (most - least) * random();
}

/** Draws scenes with the icons of one or several styles. */
export class SceneArtist {
  readonly #rasters = new Map<string, Promise<Buffer>>();

  /**
   * Draws a scene as a JPEG of `side` pixels. Some images are blurred or noisy, and all have the artefacts of JPEG.
   *
   * @param styleOf style of each object
   * @param arranged position of each object
   */
  async draw(
    scene: Scene,
    styleOf: readonly Style[],
    arranged: readonly Arranged[],
    side: number,
    random: Random,
  ): Promise<Buffer> {
    const between = betweenOf(random);
    const layers = await Promise.all(
      scene.objects.map(async ({ concept }, index) => {
        const style = at(styleOf, index);
        const { size, degrees, x, y } = at(arranged, index);
        const { data, info } = await sharp(await this.#raster(style, concept.icons.get(style) ?? ""))
          .resize(size, size, { fit: "inside" })
          .rotate(degrees, { background: "#0000" })
          .raw()
          .toBuffer({ resolveWithObject: true });
        return layer(data, info, x, y, side);
      }),
    );
    const background = Buffer.from(backgroundSvg(scene.background, side, random));
    const { data } = await sharp(background)
      .composite(layers)
      .removeAlpha()
      .blur(random() < BLUR_SHARE ? between(0.4, 1) : false)
      .toColourspace("srgb")
      .raw()
      .toBuffer({ resolveWithObject: true });
    if (random() < NOISE_SHARE) addNoise(data, between(2, MOST_NOISE), random);
    return sharp(data, { raw: { width: side, height: side, channels: 3 } })
      .jpeg({ quality: Math.round(between(60, 95)) })
      .toBuffer();
  }

  #raster(style: Style, icon: string): Promise<Buffer> {
    const key = `${style} ${icon}`;
    const known =
      this.#rasters.get(key) ??
      sharp(Buffer.from(iconSvg(style, icon)))
        .resize(RASTER_SIDE, RASTER_SIDE, { fit: "contain", background: "#0000" })
        .png({ compressionLevel: 0 })
        .toBuffer();
    this.#rasters.set(key, known);
    return known;
  }
}

/** Position of a drawn object with its centre at `x`, `y`, moved so that no part of it is outside the image. */
function layer(input: Buffer, { width, height, channels }: OutputInfo, x: number, y: number, side: number) {
  const place = (center: number, length: number) =>
    Math.max(0, Math.min(side - length, Math.round(center - length / 2)));
  return { input, raw: { width, height, channels }, left: place(x, width), top: place(y, height) };
}

function backgroundSvg({ color, texture }: Background, side: number, random: Random): string {
  const jitter = () => (2 * random() - 1) * COLOR_JITTER;
  const base = colors[color].map((value) => Math.round(Math.min(255, Math.max(0, value + jitter()))));
  const rgb = `rgb(${base.join(",")})`;
  const shade = `rgb(${base.map((value) => Math.round(shadeOf(value))).join(",")})`;
  const step = 8 + Math.round(8 * random());
  const angle = Math.round(180 * random());
  const patterns: Readonly<Record<Background["texture"], string>> = {
    plain: "",
    striped: `<rect width="${step / 2}" height="${step}" fill="${shade}"/>`,
    dotted: `<circle cx="${step / 2}" cy="${step / 2}" r="${step / 4}" fill="${shade}"/>`,
    checkered: `<rect width="${step / 2}" height="${step / 2}" fill="${shade}"/><rect x="${step / 2}" y="${step / 2}" width="${step / 2}" height="${step / 2}" fill="${shade}"/>`,
  };
  const turned = texture === "striped" ? ` patternTransform="rotate(${angle})"` : "";
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${side}" height="${side}"><defs><pattern id="p" width="${step}" height="${step}" patternUnits="userSpaceOnUse"${turned}>${patterns[texture]}</pattern></defs><rect width="100%" height="100%" fill="${rgb}"/><rect width="100%" height="100%" fill="url(#p)"/></svg>`;
}

/**
 * Value of a channel of the pattern for that of the background: a shade that people still call by the colour's name.
 */
export function shadeOf(value: number): number {
  return value < 60 ? value + 34 : value * 0.82;
}

function addNoise(pixels: Buffer, amount: number, random: Random): void {
  for (let i = 0; i < pixels.length; i++) {
    pixels[i] = Math.min(255, Math.max(0, Math.round((pixels[i] as number) + (2 * random() - 1) * amount)));
  }
}

/**
 * Index of the object that each patch shows, row by row: the last object whose square contains the centre of the patch,
 * or -1.
 */
export function thingsInPatches(
  arranged: readonly (Arranged | undefined)[],
  { side, patchSide }: { readonly side: number; readonly patchSide: number },
): Int32Array {
  const perSide = side / patchSide;
  return Int32Array.from({ length: perSide * perSide }, (_, patch) => {
    const x = ((patch % perSide) + 0.5) * patchSide;
    const y = (Math.floor(patch / perSide) + 0.5) * patchSide;
    return arranged.findLastIndex((one) => one && Math.max(Math.abs(x - one.x), Math.abs(y - one.y)) < one.size / 2);
  });
}
