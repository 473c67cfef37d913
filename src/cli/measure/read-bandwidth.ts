import { availableParallelism, freemem } from "node:os";
import { Thread } from "../../runtime/thread.js";
import { median } from "./median.js";
import type { BandwidthTask } from "./read-bandwidth.worker.js";

/** Each core compares two buffers of this size, which is far larger than the caches. */
const BUFFER_BYTES = 256 * 2 ** 20;
/** If there are many cores and little memory, buffers are smaller, so that together they take at most this share. */
const MEMORY_SHARE = 0.25;
const ROUNDS = 9;
/** Comparisons per round, so that the time of a message to a thread is negligible. */
const REPEATS = 4;

/** Bytes per second. Each core compares two equal buffers, a native loop that only reads. */
export async function measureReadBandwidth(): Promise<number> {
  const cores = availableParallelism();
  const bytes = Math.min(BUFFER_BYTES, Math.floor((MEMORY_SHARE * freemem()) / (2 * cores)));
  const entry = new URL("./read-bandwidth.worker.js", import.meta.url);
  const threads = Array.from({ length: cores }, () => new Thread(entry));
  const task: BandwidthTask = { bytes, repeats: REPEATS };
  const all = (method: string) => Promise.all(threads.map((thread) => thread.call(method, task)));
  try {
    await all("allocate");
    const rates: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const started = performance.now();
      await all("compare");
      rates.push((2 * bytes * REPEATS * cores) / ((performance.now() - started) / 1000));
    }
    return median(rates);
  } finally {
    await Promise.all(threads.map((thread) => thread.close()));
  }
}
