import { EpalmError } from "../src/core/errors.js";
import { serveThread } from "../src/runtime/serve-thread.js";

/** One core's part of the bandwidth measurement. */
export interface BandwidthTask {
  /** Size of each of the two buffers. */
  readonly bytes: number;
  readonly repeats: number;
}

let buffers: readonly [Buffer, Buffer] | undefined;

serveThread({
  allocate({ bytes }: BandwidthTask) {
    // Filled: pages that were never written are all the same page of zeros, and that one is in the cache.
    buffers = [Buffer.alloc(bytes, 1), Buffer.alloc(bytes, 1)];
  },
  compare({ repeats }: BandwidthTask) {
    if (!buffers) throw new EpalmError("internal", "compare was called before allocate");
    for (let repeat = 0; repeat < repeats; repeat++) Buffer.compare(...buffers);
  },
});
