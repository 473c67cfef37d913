import type { LimitsByKind } from "../media/encoder-input.js";
import type { MediaInput } from "../media/read-media.js";
import type { Prepared } from "../model/encoder-preprocessing.js";
import { Thread } from "../runtime/thread.js";

/** What the thread is asked for. */
export interface PrepareMedium {
  readonly input: MediaInput;
  /** What the medium may be taken for, and how it is then prepared. */
  readonly choices: readonly Prepared[];
  readonly limits: LimitsByKind;
}

/** What an encoder takes of a medium, and which encoder. */
export interface PreparedMedium {
  readonly modality: Prepared["modality"];
  readonly data: Float32Array;
}

/**
 * A thread that decodes and prepares media: resizing one photograph takes tens of milliseconds of JavaScript, in which
 * an event loop would move nothing.
 */
export class MediaThread {
  readonly #thread = new Thread(new URL("./media-thread.worker.js", import.meta.url));

  /** See `encoderInput` in `media/`; where there are several choices, the medium's content decides (`kindAmong`). */
  async prepare(payload: PrepareMedium, signal?: AbortSignal): Promise<PreparedMedium> {
    return (await this.#thread.call("prepare", payload, { signal })) as PreparedMedium;
  }

  close(): Promise<void> {
    return this.#thread.close();
  }
}
