import { REGIONS } from "../../../src/fedmae/classifier-graph.js";
import { type Random, randomStreams } from "../../../src/generation/random.js";
import { readPicturedConcepts } from "../concepts.js";
import { thingsInPatches } from "../draw-scene.js";
import { IconRasters, variedLook } from "../icon-looks.js";
import { scaledPicture } from "../paint.js";
import { drawable } from "../scene-sets.js";
import type { EncoderInput, LabelledInputs } from "../train-encoder.js";
import { type Actor, arrangeClip } from "./arrange-clip.js";
import { type ClipEvent, type ClipScene, headings, paces, randomClipScene } from "./clip-scene.js";
import { clipLabels } from "./describe-clip.js";
import { paintClip, takenTimes } from "./draw-clip.js";

export interface ClipInputsOptions {
  /** How many clips there are; each is drawn anew whenever it is seen. */
  readonly count: number;
  /** Pixels. */
  readonly side: number;
  /** Pixels along a patch's side. */
  readonly patchSide: number;
  /** That the encoder takes of each clip. */
  readonly frames: number;
  readonly seed: number;
}

/** Share of a clip that all its frames are taken sooner or later by, at most. */
const MOST_SHIFTED = 0.03;

/** The patches' aspect of what the thing in them does. */
const MOVEMENTS = "movements";
const movements: readonly string[] = [
  ...headings.flatMap((direction) => paces.map((pace) => `${pace} ${direction}`)),
  ...["grows", "shrinks", "turns", "stays", "is first", "appears"],
];

/** By actor. */
function movementsOf(event: ClipEvent): readonly string[] {
  switch (event.action) {
    case "moves":
      return [`${event.pace} ${event.direction}`];
    case "appears":
      return ["is first", "appears"];
    default:
      return [event.action];
  }
}

/** Clips as an encoder's inputs, with their labels, as `writeClipSet` writes them for training; drawn anew each time. */
export async function clipInputs(options: ClipInputsOptions): Promise<LabelledInputs> {
  const { count, side, frames, seed } = options;
  const concepts = await drawable(readPicturedConcepts(), "training");
  const names = concepts.map(({ name }) => name);
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
    return { data, patches: patchesOf(scene, actors, times) };
  }

  function patchesOf({ event }: ClipScene, actors: readonly Actor[], times: readonly number[]) {
    const shown = times.map((time) => {
      const arranged = actors.map((actor) => actor.at(time));
      return thingsInPatches(arranged, options);
    });
    const places = shown[0]?.length ?? 0;
    const does = movementsOf(event).map((movement) => movements.indexOf(movement));
    const named = actors.map(({ concept }) => names.indexOf(concept.name));
    const each = (ofActor: readonly number[]) =>
      Int32Array.from({ length: places * frames }, (_, patch) => {
        const actor = shown[patch % frames]?.[Math.floor(patch / frames)] ?? -1;
        return ofActor[actor] ?? -1;
      });
    return new Map([
      [REGIONS, each(named)],
      [MOVEMENTS, each(does)],
    ]);
  }

  return {
    examples: scenes.map((scene) => ({ labels: clipLabels(scene) })),
    patchLabels: new Map([
      [REGIONS, names],
      [MOVEMENTS, movements],
    ]),
    input: (index, random) => paint(scenes[index] as ClipScene, random),
  };
}
