import type { Modality } from "../core/modality.js";

export const [WIDTH, HEIGHT] = [640, 480];
export const SECONDS = 10;
export const FRAMES = 8;

/** What `sampleMedium` makes, in words; apart from it, as a help text needs nothing that makes media. */
export const sampleWords: Readonly<Record<Modality, string>> = {
  image: `JPEG of ${WIDTH} x ${HEIGHT}`,
  audio: `WAV of ${SECONDS} s`,
  video: `animated WebP of ${FRAMES} frames of ${WIDTH} x ${HEIGHT}`,
};
