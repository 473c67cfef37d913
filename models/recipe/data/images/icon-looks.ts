import sharp from "sharp";
import type { Random } from "../../../../src/core/random.js";
import type { Concept, Style } from "../text/concepts.js";
import { iconSvg } from "./draw-icon.js";
import { pick } from "./scene.js";

/** Share of the objects that are drawn in two blended styles, which gives a style that does not exist. */
const BLEND_SHARE = 0.4;
const MIRROR_SHARE = 0.5;
const GRAY_SHARE = 0.1;
const HIDDEN_SHARE = 0.3;
/** Share of the objects that are lit from one side. */
const LIT_SHARE = 0.4;
/** Maximum brightness of the lit side relative to the centre, minus 1. */
const MOST_LIT = 0.4;
/** Maximum rotation in degrees, in addition to that of the arrangement. */
const MOST_TURNED = 12;
/** Maximum rotation of the hue in radians. */
const MOST_HUE = 0.5;

/**
 * Sides of the cached icons in pixels. The smallest that is large enough is used, because scaling down further would
 * need a wider filter.
 */
export const RASTER_SIDES = [48, 96] as const;

/** Pixels of an icon by its side in pixels: red, green, blue and opacity of each pixel. */
export type Raster = ReadonlyMap<number, Uint8Array>;

/** A cache of rasterised icons, filled on demand. */
export class IconRasters {
  readonly #rasters = new Map<string, Promise<Raster>>();

  of({ icons }: Concept, style: Style): Promise<Raster> {
    const icon = icons.get(style) ?? "";
    const key = `${style} ${icon}`;
    const raster = this.#rasters.get(key) ?? drawRaster(style, icon);
    this.#rasters.set(key, raster);
    return raster;
  }
}

async function drawRaster(style: Style, icon: string): Promise<Raster> {
  const svg = Buffer.from(iconSvg(style, icon));
  const bySide = new Map<number, Uint8Array>();
  for (const side of RASTER_SIDES) {
    const drawn = sharp(svg).resize(side, side, { fit: "contain", background: "#0000" });
    bySide.set(side, await drawn.ensureAlpha().toColourspace("srgb").raw().toBuffer());
  }
  return bySide;
}

/** Appearance of an object, independent of its position: the same in all frames of a clip. */
export interface Look {
  /** Drawings that are blended; the shares sum to 1. */
  readonly drawings: readonly { readonly raster: Raster; readonly share: number }[];
  readonly isMirrored: boolean;
  /** Factor of the width; the height is divided by it. */
  readonly stretch: number;
  /** Rotation in degrees, in addition to that of the arrangement. */
  readonly degrees: number;
  /** Changes red, green and blue in place; they are premultiplied by the opacity, the fourth value. */
  recolor(color: Float32Array, lit: number): void;
  /** Brightness factor of a point, whose coordinates are fractions of the sides. */
  lit(u: number, v: number): number;
  isHidden(u: number, v: number): boolean;
}

/** The unchanged icon. */
export async function plainLook(rasters: IconRasters, concept: Concept, style: Style): Promise<Look> {
  return {
    drawings: [{ raster: await rasters.of(concept, style), share: 1 }],
    isMirrored: false,
    stretch: 1,
    degrees: 0,
    recolor: () => undefined,
    lit: () => 1,
    isHidden: () => false,
  };
}

/** A random look: one or two of the concept's styles, other colours and proportions, and sometimes a hidden part. */
export async function variedLook(rasters: IconRasters, concept: Concept, random: Random): Promise<Look> {
  const styles = Array.from(concept.icons.keys());
  const first = pick(random, styles);
  const second = random() < BLEND_SHARE ? pick(random, styles) : undefined;
  const share = second ? random() : 0;
  const drawings = [{ raster: await rasters.of(concept, first), share: 1 - share }];
  if (second) drawings.push({ raster: await rasters.of(concept, second), share });
  return {
    drawings,
    recolor: recoloring(random),
    isHidden: hiddenPart(random),
    lit: lighting(random),
    degrees: MOST_TURNED * (2 * random() - 1),
    stretch: Math.exp(0.2 * (2 * random() - 1)),
    isMirrored: random() < MIRROR_SHARE,
  };
}

/** Rotates the hue and changes saturation and brightness; some objects become gray. */
function recoloring(random: Random): Look["recolor"] {
  const around = (most: number) => most * (2 * random() - 1);
  const hue = around(MOST_HUE) * random();
  const saturation = random() < GRAY_SHARE ? 0 : Math.exp(around(0.4));
  const light = Math.exp(around(0.2));
  // Rotation about the gray axis (Rodrigues): each row has the same three entries.
  const [cosine, sine] = [Math.cos(hue), Math.sin(hue) / Math.sqrt(3)];
  const [own, next, last] = [(1 + 2 * cosine) / 3, (1 - cosine) / 3 - sine, (1 - cosine) / 3 + sine];
  return (color, lit) => {
    const [r, g, b] = [color[0] as number, color[1] as number, color[2] as number];
    const most = 255 * (color[3] as number);
    const gray = (1 - saturation) * ((r + g + b) / 3);
    const fit = (value: number) => Math.min(most, Math.max(0, light * lit * (gray + saturation * value)));
    color[0] = fit(own * r + next * g + last * b);
    color[1] = fit(last * r + own * g + next * b);
    color[2] = fit(next * r + last * g + own * b);
  };
}

/** Lights some objects from one side. */
function lighting(random: Random): Look["lit"] {
  if (random() >= LIT_SHARE) return () => 1;
  const angle = 2 * Math.PI * random();
  const strength = 2 * MOST_LIT * random();
  const [across, down] = [strength * Math.cos(angle), strength * Math.sin(angle)];
  return (u, v) => 1 + across * (u - 0.5) + down * (v - 0.5);
}

/** Hides a part of some objects, as if something were in front of them. */
function hiddenPart(random: Random): Look["isHidden"] {
  if (random() >= HIDDEN_SHARE) return () => false;
  const [width, height] = [0.15 + 0.3 * random(), 0.15 + 0.3 * random()];
  const [left, top] = [random() * (1 - width), random() * (1 - height)];
  return (u, v) => u > left && u < left + width && v > top && v < top + height;
}
