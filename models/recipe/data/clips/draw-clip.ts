import type { Random } from "../../../../src/core/random.js";
import { chooseFrames } from "../../../../src/media/decode/video/choose-frames.js";
import { type IconRasters, type Look, plainLook } from "../images/icon-looks.js";
import { addNoise, type PaintedImage, paintBackground, paintThing, randomNoise } from "../images/paint.js";
import { pick } from "../images/scene.js";
import { type Actor, arrangeClip } from "./arrange-clip.js";
import type { ClipScene } from "./clip-scene.js";

/** Frame rate and number of frames of a clip's file. */
export const FRAMES_PER_SECOND = 8;
export const FILE_FRAMES = 16;

/** Time of each frame of a clip's file, from 0 for the first to 1 for the last. */
export const fileTimes: readonly number[] = Array.from(
  { length: FILE_FRAMES },
  (_, frame) => frame / (FILE_FRAMES - 1),
);

/** Times of the frames that an encoder with this number of frames takes from a clip's file. */
export function takenTimes(frames: number): number[] {
  const duration = 1 / FRAMES_PER_SECOND;
  const showings = fileTimes.map((_, frame) => ({ time: frame * duration, duration }));
  return chooseFrames(showings, frames).map((frame) => fileTimes[frame] ?? 0);
}

/**
 * Paints the frames of a clip at the given times.
 * @param looks looks of the actors, in their order
 */
export function paintClip(
  { background }: ClipScene,
  actors: readonly Actor[],
  looks: readonly Look[],
  { times, side, random }: { readonly times: readonly number[]; readonly side: number; readonly random: Random },
): PaintedImage[] {
  const empty = paintBackground({ color: background, texture: "plain" }, side, random);
  const noise = randomNoise(random);
  return times.map((time) => {
    const image = { side, pixels: empty.pixels.slice() };
    actors.forEach((actor, index) => {
      const [look, arranged] = [looks[index], actor.at(time)];
      if (look && arranged) paintThing(image, look, arranged);
    });
    addNoise(image, noise, random);
    return image;
  });
}

export interface DrawClipOptions {
  readonly rasters: IconRasters;
  readonly side: number;
  readonly random: Random;
}

/** Draws all frames of a clip's file, each object in one of its styles. */
export async function drawClip(scene: ClipScene, { rasters, side, random }: DrawClipOptions): Promise<PaintedImage[]> {
  const actors = arrangeClip(scene, side, random);
  const looks: Look[] = [];
  for (const { concept } of actors) {
    looks.push(await plainLook(rasters, concept, pick(random, Array.from(concept.icons.keys()))));
  }
  return paintClip(scene, actors, looks, { times: fileTimes, side, random });
}
