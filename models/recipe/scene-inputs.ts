import sharp from "sharp";
import type { Labelled } from "../../src/fedmae/labelled-pictures.js";
import { type Random, randomStreams } from "../../src/generation/random.js";
import { imagenetPreprocessing } from "../../src/model/image-preprocessing.js";
import { type Concept, readPicturedConcepts, type Style, trainingStyles } from "./concepts.js";
import { iconSvg } from "./draw-icon.js";
import { type Arranged, arrange, COLOR_JITTER, colors, shadeOf } from "./draw-scene.js";
import { type Background, pick, randomScene, type Scene } from "./scene.js";
import { drawable, labelsOf } from "./scene-sets.js";
import type { EncoderInput, LabelledInputs } from "./train-encoder.js";

/**
 * Scenes as an encoder's inputs, drawn anew each time they are seen: in other styles, sizes, colors. They lack the
 * finish of `SceneArtist`'s pictures, and take a thirtieth of the time. Of pictures that stay the same, an encoder of
 * this size learns the pictures by heart: 99 % of their things, and 55 % of those in others.
 */

/** Sides that icons are kept in, the nearest above the drawn one is used: smaller ones would need a wider filter. */
const RASTER_SIDES = [48, 96] as const;

/** How often a thing is drawn in two styles at once, one over the other: a style that is not there. */
const BLEND_SHARE = 0.4;
const MIRROR_SHARE = 0.5;
const GRAY_SHARE = 0.1;
const HIDDEN_SHARE = 0.3;
const NOISE_SHARE = 0.5;
/** How often a thing is lit from one side. */
const LIT_SHARE = 0.4;
/** How much lighter, as a share, its lit side may be than its middle. */
const MOST_LIT = 0.4;
/** Degrees that a thing is turned by beyond what `arrange` does. */
const MOST_TURNED = 12;
/** Radians of the circle of hues. */
const MOST_HUE = 0.5;
/** Of values from 0 to 255. */
const MOST_NOISE = 14;

export interface SceneInputsOptions {
  /** How many scenes there are; each is drawn anew whenever it is seen. */
  readonly count: number;
  /** Pixels. */
  readonly side: number;
  /** Pixels along a patch's side. */
  readonly patchSide: number;
  readonly seed: number;
}

/** Scenes with their labels, as `writeSceneSet` writes them in its training styles. */
export async function sceneInputs(options: SceneInputsOptions): Promise<LabelledInputs> {
  const concepts = await drawable(readPicturedConcepts(), "training");
  const patchLabels = concepts.map(({ name }) => name);
  const painter = new ScenePainter(await readRasters(concepts), patchLabels, options);
  const scenes = Array.from({ length: options.count }, (_, index) => {
    const [content = Math.random] = randomStreams(options.seed + index, 1);
    return randomScene(content, concepts);
  });
  const examples: Labelled[] = scenes.map((scene) => ({ labels: labelsOf(scene) }));
  return { examples, patchLabels, input: (index, random) => painter.paint(scenes[index] as Scene, random) };
}

/** Red, green, blue and opacity of each pixel, by the icon's style and then by the picture's side. */
type Rasters = ReadonlyMap<Concept, ReadonlyMap<Style, ReadonlyMap<number, Uint8Array>>>;

async function readRasters(concepts: readonly Concept[]): Promise<Rasters> {
  const rasters = new Map<Concept, Map<Style, Map<number, Uint8Array>>>();
  for (const concept of concepts) {
    const byStyle = new Map<Style, Map<number, Uint8Array>>();
    for (const [style, icon] of concept.icons) {
      const svg = Buffer.from(iconSvg(style, icon));
      const bySide = new Map<number, Uint8Array>();
      for (const side of RASTER_SIDES) {
        const drawn = sharp(svg).resize(side, side, { fit: "contain", background: "#0000" });
        bySide.set(side, await drawn.ensureAlpha().toColourspace("srgb").raw().toBuffer());
      }
      byStyle.set(style, bySide);
    }
    rasters.set(concept, byStyle);
  }
  return rasters;
}

class ScenePainter {
  constructor(
    private readonly rasters: Rasters,
    private readonly names: readonly string[],
    private readonly options: SceneInputsOptions,
  ) {}

  /** A scene as [3, side, side], scaled, and which thing is in each patch. */
  paint(scene: Scene, random: Random): EncoderInput {
    const { side } = this.options;
    const pixels = ground(scene.background, side, random);
    const arranged = arrange(scene, side, random);
    scene.objects.forEach(({ concept }, index) => {
      this.#add(pixels, concept, arranged[index] as Arranged, random);
    });
    return { data: this.#scaled(pixels, random), patches: this.#patches(scene, arranged) };
  }

  /** A patch shows the thing whose middle is near enough to the patch's. */
  #patches({ objects }: Scene, arranged: readonly Arranged[]): Int32Array {
    const { side, patchSide } = this.options;
    const perSide = side / patchSide;
    return Int32Array.from({ length: perSide * perSide }, (_, patch) => {
      const x = ((patch % perSide) + 0.5) * patchSide;
      const y = (Math.floor(patch / perSide) + 0.5) * patchSide;
      const index = arranged.findLastIndex(
        (one) => Math.max(Math.abs(x - one.x), Math.abs(y - one.y)) < one.size / 2,
      );
      return this.names.indexOf(objects[index]?.concept.name ?? "");
    });
  }

  #add(pixels: Float32Array, concept: Concept, arranged: Arranged, random: Random): void {
    const { side } = this.options;
    const rasterSide = RASTER_SIDES.find((known) => known * 1.25 >= arranged.size) ?? RASTER_SIDES[1];
    const raster = () => this.#raster(concept, rasterSide, random);
    const [first, second] = [raster(), random() < BLEND_SHARE ? raster() : undefined];
    const share = second ? random() : 0;
    const recolor = recoloring(random);
    const hidden = hiddenPart(random);
    const light = lighting(random);
    const turn = ((arranged.degrees + MOST_TURNED * (2 * random() - 1)) * Math.PI) / 180;
    const [cosine, sine] = [Math.cos(turn), Math.sin(turn)];
    const stretch = Math.exp(0.2 * (2 * random() - 1));
    const across = (random() < MIRROR_SHARE ? -1 : 1) / (arranged.size * stretch);
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
        if (u < 0 || u >= 1 || v < 0 || v >= 1 || hidden(u, v)) continue;
        color.fill(0);
        addColor(color, first, rasterSide, u, v, 1 - share);
        if (second) addColor(color, second, rasterSide, u, v, share);
        const opacity = color[3] as number;
        if (opacity === 0) continue;
        recolor(color, light(u, v));
        const at = 3 * (y * side + x);
        for (let c = 0; c < 3; c++) {
          pixels[at + c] = (pixels[at + c] as number) * (1 - opacity) + (color[c] as number);
        }
      }
    }
  }

  #raster(concept: Concept, side: number, random: Random): Uint8Array {
    const byStyle = this.rasters.get(concept);
    const style = pick(
      random,
      trainingStyles.filter((known) => concept.icons.has(known)),
    );
    return byStyle?.get(style)?.get(side) ?? new Uint8Array(4 * side * side);
  }

  #scaled(pixels: Float32Array, random: Random): Float32Array {
    const { side } = this.options;
    const { mean, std } = imagenetPreprocessing(side);
    const amount = random() < NOISE_SHARE ? MOST_NOISE * random() : 0;
    const first = Math.floor(random() * noise.length);
    const count = side * side;
    const scaled = new Float32Array(3 * count);
    for (const c of [0, 1, 2] as const) {
      for (let i = 0; i < count; i++) {
        const value =
          (pixels[3 * i + c] as number) + amount * (noise[(first + 3 * i + c) % noise.length] as number);
        scaled[c * count + i] = (Math.min(255, Math.max(0, value)) / 255 - mean[c]) / std[c];
      }
    }
    return scaled;
  }
}

/** From -1 to 1: begun at another place each time, for a number per pixel would take longer than all the rest. */
const noise = makeNoise();

function makeNoise(): Float32Array {
  const [random = Math.random] = randomStreams(0, 1);
  return Float32Array.from({ length: 100_003 }, () => 2 * random() - 1);
}

/** Adds the color at a place of a raster, in shares of its side, times its opacity; and the opacity from 0 to 1. */
function addColor(
  color: Float32Array,
  raster: Uint8Array,
  side: number,
  u: number,
  v: number,
  share: number,
) {
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

/** Turns hues, and makes colors stronger or weaker, lighter or darker; some things are gray. */
function recoloring(random: Random): (color: Float32Array, lit: number) => void {
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

/** Some things are lit from one side: how light each place of theirs is. */
function lighting(random: Random): (u: number, v: number) => number {
  if (random() >= LIT_SHARE) return () => 1;
  const angle = 2 * Math.PI * random();
  const strength = 2 * MOST_LIT * random();
  const [across, down] = [strength * Math.cos(angle), strength * Math.sin(angle)];
  return (u, v) => 1 + across * (u - 0.5) + down * (v - 0.5);
}

/** Of some things, a part is missing, as if something stood before it. */
function hiddenPart(random: Random): (u: number, v: number) => boolean {
  if (random() >= HIDDEN_SHARE) return () => false;
  const [width, height] = [0.15 + 0.3 * random(), 0.15 + 0.3 * random()];
  const [left, top] = [random() * (1 - width), random() * (1 - height)];
  return (u, v) => u > left && u < left + width && v > top && v < top + height;
}

/** A ground as `SceneArtist` draws it, but for smooth edges: red, green, blue of each pixel. */
function ground({ color, texture }: Background, side: number, random: Random): Float32Array {
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
  return pixels;
}

/** By place within a pattern's square. */
const isShaded: Readonly<Record<Background["texture"], (u: number, v: number) => boolean>> = {
  plain: () => false,
  striped: (u) => u < 0.5,
  dotted: (u, v) => (u - 0.5) ** 2 + (v - 0.5) ** 2 < 1 / 16,
  checkered: (u, v) => u < 0.5 === v < 0.5,
};

function fraction(value: number): number {
  return value - Math.floor(value);
}
