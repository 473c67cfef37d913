import { type Random, randomStreams } from "../../../src/generation/random.js";
import { readPicturedConcepts } from "../concepts.js";
import { IconRasters, variedLook } from "../icon-looks.js";
import { scaledPicture } from "../paint.js";
import { drawable } from "../scene-sets.js";
import type { EncoderInput, LabelledInputs } from "../train-encoder.js";
import { arrangeClip } from "./arrange-clip.js";
import { type ClipScene, randomClipScene } from "./clip-scene.js";
import { clipLabels } from "./describe-clip.js";
import { paintClip, takenTimes } from "./draw-clip.js";

export interface ClipInputsOptions {
  /** How many clips there are; each is drawn anew whenever it is seen. */
  readonly count: number;
  /** Pixels. */
  readonly side: number;
  /** That the encoder takes of each clip. */
  readonly frames: number;
  readonly seed: number;
}

/** Share of a clip that all its frames are taken sooner or later by, at most. */
const MOST_SHIFTED = 0.03;

/** Clips as an encoder's inputs, with their labels, as `writeClipSet` writes them for training; drawn anew each time. */
export async function clipInputs({ count, side, frames, seed }: ClipInputsOptions): Promise<LabelledInputs> {
  const concepts = await drawable(readPicturedConcepts(), "training");
  const rasters = new IconRasters();
  const scenes = Array.from({ length: count }, (_, index) => {
    const [content = Math.random] = randomStreams(seed + index, 1);
    return randomClipScene(content, concepts, "training");
  });
  const taken = takenTimes(frames);

  async function paint(scene: ClipScene, random: Random): Promise<EncoderInput> {
    const actors = arrangeClip(scene, side, random);
    const looks = [];
    for (const { concept } of actors) looks.push(await variedLook(rasters, concept, random));
    const shift = MOST_SHIFTED * (2 * random() - 1);
    const times = taken.map((time) => Math.min(1, Math.max(0, time + shift)));
    const pictures = paintClip(scene, actors, looks, { times, side, random });
    const data = new Float32Array(frames * 3 * side * side);
    pictures.forEach((picture, frame) => {
      data.set(scaledPicture(picture), frame * 3 * side * side);
    });
    return { data };
  }

  return {
    examples: scenes.map((scene) => ({ labels: clipLabels(scene) })),
    input: (index, random) => paint(scenes[index] as ClipScene, random),
  };
}
