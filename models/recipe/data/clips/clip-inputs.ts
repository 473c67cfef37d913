import { at } from "../../../../src/core/at.js";
import { type Random, randomStreams } from "../../../../src/core/random.js";
import { type EncoderInput, type LabelledInputs, REGIONS } from "../../../../src/training/index.js";
import { thingsInPatches } from "../images/draw-scene.js";
import { IconRasters, variedLook } from "../images/icon-looks.js";
import { scaledImage } from "../images/paint.js";
import { drawable } from "../images/scene-sets.js";
import { readDrawableConcepts } from "../text/concepts.js";
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

/** The patches' attribute of what the thing in them does. */
const MOVEMENTS = "movements";
const movements: readonly string[] = [
  ...headings.flatMap((direction) => paces.map((pace) => `${pace} ${direction}`)),
  ...["grows", "shrinks", "turns", "stays", "is first", "appears"],
];

/**
 * The patches' attribute of what changes in them: whether a thing is there in the frame before, in this one, in the next. No
 * more than its own place is needed for it, so that time is learnt soon, and ways are what has come beside what has gone.
 */
const CHANGES = "changes";
const changes = [1, 2, 3, 4, 5, 6, 7].map((bits) =>
  ["before", "now", "after"].filter((_, bit) => bits & (1 << bit)).join(" and "),
);

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
  const concepts = await drawable(readDrawableConcepts(), "training");
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
    const images = paintClip(scene, actors, looks, { times, side, random });
    const data = new Float32Array(frames * 3 * side * side);
    images.forEach((image, frame) => {
      data.set(scaledImage(image), frame * 3 * side * side);
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
    /** In the first frame and in the last, what is not seen is as what is. */
    const isThere = (place: number, frame: number) =>
      (shown[Math.min(frames - 1, Math.max(0, frame))]?.[place] ?? -1) >= 0;
    const changed = Int32Array.from({ length: places * frames }, (_, patch) => {
      const [place, frame] = [Math.floor(patch / frames), patch % frames];
      const there = [-1, 0, 1].map((step) => isThere(place, frame + step));
      return there.reduce((bits, is, bit) => bits + (is ? 1 << bit : 0), 0) - 1;
    });
    return new Map([
      [REGIONS, each(named)],
      [MOVEMENTS, each(does)],
      [CHANGES, changed],
    ]);
  }

  return {
    examples: scenes.map((scene) => ({ labels: clipLabels(scene) })),
    patchLabels: new Map([
      [REGIONS, names],
      [MOVEMENTS, movements],
      [CHANGES, changes],
    ]),
    input: (index, random) => paint(at(scenes, index), random),
  };
}
