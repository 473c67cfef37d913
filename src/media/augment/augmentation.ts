import { type Random, randomStreams } from "../../core/random.js";
// Only the type: the processes that decode images import this file, and zod would double the time of their start.
import type { AugmentSettings } from "./augment-settings.js";

/** One draw of an augmentation; the same draw changes the same medium in the same way. */
export interface Augmentation {
  readonly settings: AugmentSettings;
  /** An integer from 0 to 2^53 - 1. */
  readonly seed: number;
}

/** The random numbers of an image or of audio. All frames of a video get the same ones. */
export function contentRandom({ seed }: Augmentation): Random {
  return randomStreams(seed, 1)[0] ?? Math.random;
}

/** The random numbers that choose the frames of a video; undefined if its middle frames are used. */
export function frameRandom(augmentation: Augmentation | undefined): Random | undefined {
  return augmentation?.settings.randomFrames ? randomStreams(augmentation.seed, 2)[1] : undefined;
}
