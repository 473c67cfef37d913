import type { Random } from "../../../core/random.js";

/** When and for how long a frame is shown, in seconds. */
export interface Showing {
  readonly time: number;
  /** 0 if the file does not specify it. */
  readonly duration: number;
}

/** Seconds from the start of the first frame to the end of the last; `frames` must be in order of time. */
export function showingSeconds(frames: readonly Showing[]): number {
  const [first, last] = [frames[0], frames.at(-1)];
  if (first === undefined || last === undefined) return 0;
  const seconds = last.time - first.time;
  // A last frame without a duration gets the mean duration of the others; a single frame gets an arbitrary one.
  const mean = frames.length > 1 ? seconds / (frames.length - 1) : 1;
  return seconds + (last.duration > 0 ? last.duration : mean);
}

/**
 * Indices of `count` frames, sampled evenly from `frames`, which must be in order of time: the middle frame of each of
 * `count` equal parts, as in the published evaluation (eP-ALM, `dataset/video_utils.py`, "middle"). If there are fewer
 * than `count` frames, all are used and the last one is repeated. If frames have different durations, the parts are
 * equal in time.
 *
 * @param random if given, a random frame of each part instead of the middle one, as in the published training ("rand")
 */
export function chooseFrames(frames: readonly Showing[], count: number, random?: Random): number[] {
  const last = frames.length - 1;
  if (count > last) return Array.from({ length: count }, (_, index) => Math.min(index, last));
  const tick = showingSeconds(frames) / frames.length;
  const start = frames[0]?.time ?? 0;
  const partLength = frames.length / count;
  return Array.from({ length: count }, (_, part) => {
    const first = Math.floor(part * partLength);
    const next = part + 1 === count ? frames.length : Math.floor((part + 1) * partLength);
    const chosen = random ? first + Math.floor(random() * (next - first)) : Math.floor((first + next - 1) / 2);
    return seenAt(frames, start + (chosen + 0.5) * tick);
  });
}

/** The index of the last frame that begins at or before `time`. */
function seenAt(frames: readonly Showing[], time: number): number {
  let [low, high] = [0, frames.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((frames[middle]?.time ?? 0) <= time) low = middle;
    else high = middle - 1;
  }
  return low;
}
