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
 * Scenes as inputs of an encoder, drawn again with other styles, sizes and colours each time they are used. With fixed
 * images, an encoder of this size memorises them: it recognises 99 % of the objects in them, but 55 % in others.
 */

export interface SceneInputsOptions {
  /** Number of scenes; each is drawn again whenever it is used. */
  readonly count: number;
  /** Side of an image in pixels. */
  readonly side: number;
  /** Side of a patch in pixels. */
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

  /** The scene as a normalised input [3, side, side], with the object in each patch. */
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
