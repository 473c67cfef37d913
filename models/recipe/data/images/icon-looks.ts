import sharp from "sharp";
import type { Random } from "../../../../src/core/random.js";
import type { Concept, Style } from "../text/concepts.js";
import { iconSvg } from "./draw-icon.js";
import { pick } from "./scene.js";

/** How often a thing is drawn in two styles at once, one over the other: a style that is not there. */
const BLEND_SHARE = 0.4;
const MIRROR_SHARE = 0.5;
const GRAY_SHARE = 0.1;
const HIDDEN_SHARE = 0.3;
/** How often a thing is lit from one side. */
const LIT_SHARE = 0.4;
/** How much lighter, as a share, its lit side may be than its middle. */
const MOST_LIT = 0.4;
/** Degrees that a thing is turned by beyond what arranges it does. */
const MOST_TURNED = 12;
/** Radians of the circle of hues. */
const MOST_HUE = 0.5;

/** Sides that icons are kept in, the nearest above the drawn one is used: smaller ones would need a wider filter. */
export const RASTER_SIDES = [48, 96] as const;

/** An icon by the side in pixels: red, green, blue and opacity of each pixel. */
export type Raster = ReadonlyMap<number, Uint8Array>;

/** Icons as pixels, made when they are first needed. */
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

/** How one thing looks, wherever it is: the same in all frames of a clip. */
export interface Look {
  /** Drawn over each other; shares sum to 1. */
  readonly drawings: readonly { readonly raster: Raster; readonly share: number }[];
  readonly isMirrored: boolean;
  /** Its width as a share of its size; its height is as much less. */
  readonly stretch: number;
  /** Degrees beyond those of its place. */
  readonly degrees: number;
  /** Changes red, green and blue, which opacity, the fourth, has been multiplied into. */
  recolor(color: Float32Array, lit: number): void;
  /** How light a place of it is, in shares of its sides. */
  lit(u: number, v: number): number;
  isHidden(u: number, v: number): boolean;
}

/** As the icon is. */
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

/** Another each time: of one of its styles or two, in other colors and proportions, with a part hidden. */
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

/** Turns hues, and makes colors stronger or weaker, lighter or darker; some things are gray. */
function recoloring(random: Random): Look["recolor"] {
  const around = (most: number) => most * (2 * random() - 1);
  const hue = around(MOST_HUE) * random();
  const saturation = random() < GRAY_SHARE ? 0 : Math.exp(around(0.4));
  const light = Math.exp(around(0.2));
  // Rotates about the gray axis (Rodrigues): the same three entries in each row.
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

/** Some things are lit from one side. */
function lighting(random: Random): Look["lit"] {
  if (random() >= LIT_SHARE) return () => 1;
  const angle = 2 * Math.PI * random();
  const strength = 2 * MOST_LIT * random();
  const [across, down] = [strength * Math.cos(angle), strength * Math.sin(angle)];
  return (u, v) => 1 + across * (u - 0.5) + down * (v - 0.5);
}

/** Of some things, a part is missing, as if something stood before it. */
function hiddenPart(random: Random): Look["isHidden"] {
  if (random() >= HIDDEN_SHARE) return () => false;
  const [width, height] = [0.15 + 0.3 * random(), 0.15 + 0.3 * random()];
  const [left, top] = [random() * (1 - width), random() * (1 - height)];
  return (u, v) => u > left && u < left + width && v > top && v < top + height;
}
