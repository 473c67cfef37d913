import { EpalmError } from "../../core/errors.js";
import { serveThread } from "../../runtime/serve-thread.js";

/** The work of one core in the bandwidth measurement. */
export interface BandwidthTask {
  /** Size in bytes of each of the two buffers. */
  readonly bytes: number;
  readonly repeats: number;
}

let buffers: readonly [Buffer, Buffer] | undefined;

serveThread({
  allocate({ bytes }: BandwidthTask) {
    // Buffers must be written: untouched pages all map to one page of zeros, which stays in the cache.
    buffers = [Buffer.alloc(bytes, 1), Buffer.alloc(bytes, 1)];
  },
  compare({ repeats }: BandwidthTask) {
    if (!buffers) throw new EpalmError("internal", "compare was called before allocate");
    for (let repeat = 0; repeat < repeats; repeat++) Buffer.compare(...buffers);
  },
});
