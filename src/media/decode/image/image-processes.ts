import { availableParallelism } from "node:os";
import { EpalmError } from "../../../core/errors.js";
import { Semaphore } from "../../../core/semaphore.js";
import { ImageProcess, type ProcessLimits } from "./image-process.js";
import type { Image, ImageResult, ImageResults, ImageTask, ImageWork } from "./image-task.js";

interface LaneOptions extends ProcessLimits {
  /** How many processes may run at the same time. */
  readonly processes: number;
  /** Height times width of the largest image that is decoded here. */
  readonly pixels: number;
  /** Whether one process is kept although it is idle. */
  readonly keepsOne: boolean;
}

/** Starting a process takes 0.1 to 0.2 s; an idle one takes about 50 MB that it does not share with others. */
const REST_SECONDS = 10;

/** Processes with the same limits. Images wait for a free one in the order in which they arrive. */
class Lane {
  readonly #options: LaneOptions;
  readonly #turns: Semaphore;
  #idle: ImageProcess[] = [];

  constructor(options: LaneOptions) {
    this.#options = options;
    this.#turns = new Semaphore(options.processes);
  }

  run(task: Omit<ImageTask, "pixelsHere">, signal: AbortSignal | undefined): Promise<ImageResult | undefined> {
    return this.#turns.run(async () => {
      this.#idle = this.#idle.filter(({ isAlive }) => isAlive);
      const process = this.#idle.pop() ?? new ImageProcess(this.#options);
      try {
        return await process.run({ ...task, pixelsHere: this.#options.pixels }, signal);
      } finally {
        if (process.isAlive) this.#keep(process);
      }
    }, signal);
  }

  /** Starts a process before it is needed. */
  warmUp(): void {
    if (this.#idle.length === 0) this.#keep(new ImageProcess(this.#options));
  }

  #keep(process: ImageProcess): void {
    if (this.#idle.length > 0 || !this.#options.keepsOne) process.rest(REST_SECONDS);
    this.#idle.push(process);
  }
}

const MB = 1_000_000;
const cores = availableParallelism();

/**
 * Each kind of image waits only for its own kind. A photograph of 12 megapixels takes 0.3 s, and an interlaced 16-bit
 * PNG of 16 megapixels takes 1.6 s and 320 MB. With 48 megapixels, a progressive JPEG takes 4 s and 370 MB, and such a
 * PNG 2 s and 550 MB; AVIF takes 1 GB, and 18 s on a busy machine.
 */
const lanes = {
  small: new Lane({ processes: Math.max(2, cores), pixels: 16 * MB, seconds: 10, bytes: 400 * MB, keepsOne: true }),
  large: new Lane({
    ...{ processes: Math.max(1, Math.floor(cores / 2)), pixels: Number.POSITIVE_INFINITY },
    ...{ seconds: 30, bytes: 1200 * MB, keepsOne: false },
  }),
  // A drawing of 20,000 elements takes 1 s and 100 MB.
  vector: new Lane({
    ...{ processes: 1, pixels: Number.POSITIVE_INFINITY, seconds: 5, bytes: 300 * MB, keepsOne: false },
  }),
};

/** A frame of an animation needs all frames before it, and HEIC is decoded by WebAssembly. */
const slowWork: readonly ImageWork["kind"][] = ["frames", "heif"];

/**
 * Does work on an image in a child process, which is killed if it exceeds its limits or the signal fires.
 *
 * @throws too_large (time, memory, pixels), invalid_media, aborted
 */
export async function inImageProcess<Work extends ImageWork>(
  image: Image,
  work: Work,
  signal: AbortSignal | undefined,
): Promise<ImageResults[Work["kind"]]> {
  const task = { ...image, work };
  const first = image.format === "svg" ? lanes.vector : slowWork.includes(work.kind) ? lanes.large : lanes.small;
  const result = (await first.run(task, signal)) ?? (await lanes.large.run(task, signal));
  if (result === undefined) throw new EpalmError("internal", `${image.where}: was not decoded`);
  // The process returns the result of the kind of work that it was sent.
  return result as ImageResults[Work["kind"]];
}

/** Starts a process for the first image. */
export function warmUpImageProcess(): void {
  lanes.small.warmUp();
}
