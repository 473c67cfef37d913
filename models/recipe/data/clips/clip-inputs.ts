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
  /** Number of clips; each is drawn again whenever it is used. */
  readonly count: number;
  /** Side of a frame in pixels. */
  readonly side: number;
  /** Side of a patch in pixels. */
  readonly patchSide: number;
  /** Number of frames that the encoder takes of each clip. */
  readonly frames: number;
  readonly seed: number;
}

/** Maximum shift of all frame times in either direction, as a fraction of the clip. */
const MOST_SHIFTED = 0.03;

/** Attribute of patches: the action of the object in the patch. */
const MOVEMENTS = "movements";
const movements: readonly string[] = [
  ...headings.flatMap((direction) => paces.map((pace) => `${pace} ${direction}`)),
  ...["grows", "shrinks", "turns", "stays", "is first", "appears"],
];

/**
 * Attribute of patches: whether an object is in the patch in the previous frame, in this one and in the next. It
 * depends only on the patch's own place, so that the encoder learns early to use time. It can then find movements by
 * comparing where an object has appeared and where it has disappeared.
 */
const CHANGES = "changes";
const changes = [1, 2, 3, 4, 5, 6, 7].map((bits) =>
  ["before", "now", "after"].filter((_, bit) => bits & (1 << bit)).join(" and "),
);

/** The movement of each actor. */
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

/**
 * Clips with their labels as inputs of an encoder, as `writeClipSet` writes them for training; drawn again each time.
 */
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
    /** The frame before the first is treated like the first, and the frame after the last like the last. */
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
