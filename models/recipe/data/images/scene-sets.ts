import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { at } from "../../../../src/core/at.js";
import { type Random, randomStreams } from "../../../../src/core/random.js";
import { SetLines, someQuestions } from "../set-lines.js";
import {
  type Concept,
  HELD_OUT,
  readConcepts,
  readDrawableConcepts,
  type Style,
  trainingStyles,
} from "../text/concepts.js";
import { iconSvg } from "./draw-icon.js";
import { type Arranged, arrange, SceneArtist } from "./draw-scene.js";
import { captionOf, pick, places, questionsOf, randomScene, type Scene } from "./scene.js";

/** A set of images with their labels, captions and questions. */
export interface SceneSetOptions {
  readonly folder: string;
  readonly count: number;
  /** Side of an image in pixels. */
  readonly side: number;
  /** `training`: a mixture of the eight training styles. `held-out style`: the style that nothing was trained on. */
  readonly styles: "training" | "held-out style";
  /** Default: the concepts of the model's images. `all`: also those that occur only in its text. */
  readonly concepts?: "all" | undefined;
  readonly seed: number;
  /** Number of objects in each scene. Default: random, from one to four. */
  readonly objects?: number | undefined;
  readonly onImage?: ((done: number) => void) | undefined;
}

/** Writes the images of a set and the files of `SetLines`. The same options give the same set. */
export async function writeSceneSet(options: SceneSetOptions): Promise<void> {
  const { folder, count, side, seed, onImage } = options;
  const shown = options.concepts === "all" ? readConcepts() : readDrawableConcepts();
  const concepts = await drawable(shown, options.styles);
  const artist = new SceneArtist();
  mkdirSync(join(folder, "pictures"), { recursive: true });
  const lines = new SetLines("image");
  for (let index = 0; index < count; index++) {
    const [content = Math.random, drawing = Math.random] = randomStreams(seed + index, 2);
    const scene = randomScene(content, concepts, options.objects);
    const styleOf = stylesFor(scene, options.styles, content);
    const image = `pictures/${String(index).padStart(6, "0")}.jpg`;
    const path = join(folder, image);
    const arranged = arrange(scene, side, drawing);
    if (!existsSync(path)) writeFileSync(path, await artist.draw(scene, styleOf, arranged, side, drawing));
    lines.add(image, {
      caption: captionOf(scene),
      questions: someQuestions(questionsOf(scene, concepts, content), content),
      labels: labelsOf(scene),
      regions: scene.objects.map(({ concept }, object) => ({
        label: concept.name,
        box: boxOf(at(arranged, object), side),
      })),
    });
    onImage?.(index + 1);
  }
  lines.write(folder);
}

/** Left, top, right and bottom as fractions of the image's side. */
function boxOf({ size, x, y }: Arranged, side: number): [number, number, number, number] {
  const shareOf = (pixels: number) => Number(Math.min(1, Math.max(0, pixels / side)).toFixed(3));
  const half = size / 2;
  return [shareOf(x - half), shareOf(y - half), shareOf(x + half), shareOf(y + half)];
}

/** The attributes of `labelsOf`. */
export const sceneAttributes: readonly string[] = [
  ...["background", "texture", "count", "kind", "name"],
  ...places.map((place) => `at ${place}`),
];

/**
 * The labels that the encoder learns to predict: the background and the number of objects; if all objects are the same,
 * their name and kind, otherwise the object at each place.
 */
export function labelsOf({ background, objects }: Scene): Record<string, string> {
  const [concept, ...others] = new Set(objects.map((object) => object.concept));
  return {
    background: background.color,
    texture: background.texture,
    count: String(objects.length),
    ...(concept && others.length === 0
      ? { kind: concept.kind.name, name: concept.name }
      : Object.fromEntries(objects.map((object) => [`at ${object.place}`, object.concept.name]))),
  };
}

function stylesFor(scene: Scene, styles: SceneSetOptions["styles"], random: Random): Style[] {
  return scene.objects.map(({ concept }) =>
    styles === "held-out style"
      ? HELD_OUT
      : pick(
          random,
          trainingStyles.filter((style) => concept.icons.has(style)),
        ),
  );
}

/** Keeps the concepts and icons that are valid SVG; a few icons of the sets are not. */
export async function drawable(concepts: readonly Concept[], styles: SceneSetOptions["styles"]): Promise<Concept[]> {
  const wanted: readonly Style[] = styles === "training" ? trainingStyles : [HELD_OUT];
  const checked = await Promise.all(
    concepts.map(async (concept) => {
      const given = Array.from(concept.icons).filter(([style]) => wanted.includes(style));
      const drawn = await Promise.all(
        given.map(async ([style, icon]) => ((await isDrawable(style, icon)) ? [[style, icon] as const] : [])),
      );
      return { ...concept, icons: new Map(drawn.flat()) };
    }),
  );
  return checked.filter(({ icons }) => icons.size > 0);
}

async function isDrawable(style: Style, icon: string): Promise<boolean> {
  return sharp(Buffer.from(iconSvg(style, icon)))
    .metadata()
    .then(
      () => true,
      () => false,
    );
}
