import { at } from "../../../../src/core/at.js";
import { type Random, randomStreams } from "../../../../src/core/random.js";
import { type EncoderInput, type Labelled, type LabelledInputs, REGIONS } from "../../../../src/training/index.js";
import { readDrawableConcepts } from "../text/concepts.js";
import { type Arranged, arrange, thingsInPatches } from "./draw-scene.js";
import { IconRasters, variedLook } from "./icon-looks.js";
import { addNoise, paintBackground, paintThing, randomNoise, scaledImage } from "./paint.js";
import { randomScene, type Scene } from "./scene.js";
import { drawable, labelsOf } from "./scene-sets.js";

/**
 * Scenes as an encoder's inputs, drawn anew each time they are seen: in other styles, sizes, colors. Of pictures that
 * stay the same, an encoder of this size learns the pictures by heart: 99 % of their things, and 55 % of those in others.
 */

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
  const concepts = await drawable(readDrawableConcepts(), "training");
  const names = concepts.map(({ name }) => name);
  const painter = new ScenePainter(names, options);
  const scenes = Array.from({ length: options.count }, (_, index) => {
    const [content = Math.random] = randomStreams(options.seed + index, 1);
    return randomScene(content, concepts);
  });
  const examples: Labelled[] = scenes.map((scene) => ({ labels: labelsOf(scene) }));
  return {
    examples,
    patchLabels: new Map([[REGIONS, names]]),
    input: (index, random) => painter.paint(at(scenes, index), random),
  };
}

class ScenePainter {
  readonly #rasters = new IconRasters();

  constructor(
    private readonly names: readonly string[],
    private readonly options: SceneInputsOptions,
  ) {}

  /** A scene as [3, side, side], scaled, and which thing is in each patch. */
  async paint(scene: Scene, random: Random): Promise<EncoderInput> {
    const { side } = this.options;
    const image = paintBackground(scene.background, side, random);
    const arranged = arrange(scene, side, random);
    for (const [index, { concept }] of scene.objects.entries()) {
      const look = await variedLook(this.#rasters, concept, random);
      paintThing(image, look, at(arranged, index));
    }
    addNoise(image, randomNoise(random), random);
    return { data: scaledImage(image), patches: new Map([[REGIONS, this.#patches(scene, arranged)]]) };
  }

  #patches({ objects }: Scene, arranged: readonly Arranged[]): Int32Array {
    const shown = thingsInPatches(arranged, this.options);
    return shown.map((index) => this.names.indexOf(objects[index]?.concept.name ?? ""));
  }
}
