import type { LimitsByKind } from "../media/encoder-input.js";
import type { MediaInput } from "../media/read-media.js";
import type { Prepared } from "../model/encoder-preprocessing.js";
import { Thread, type ThreadHealth } from "../runtime/thread.js";

/** The payload of a call to the thread. */
export interface PrepareMedium {
  readonly input: MediaInput;
  /** The modalities as which the medium may be interpreted, with their preprocessing. */
  readonly choices: readonly Prepared[];
  readonly limits: LimitsByKind;
}

/** A preprocessed medium and the modality of the encoder that takes it. */
export interface PreparedMedium {
  readonly modality: Prepared["modality"];
  readonly data: Float32Array;
}

/**
 * A worker thread that decodes and preprocesses media: resizing one photograph takes tens of milliseconds of
 * JavaScript, which would block the caller's event loop.
 */
export class MediaThread {
  readonly #thread = new Thread(new URL("./media-thread.worker.js", import.meta.url), {
    name: "media",
    restore: async () => undefined,
  });

  get health(): ThreadHealth {
    return this.#thread;
  }

  /** See `encoderInput` in `media/`. If there are several choices, the medium's content decides (`kindAmong`). */
  async prepare(payload: PrepareMedium, signal?: AbortSignal): Promise<PreparedMedium> {
    return (await this.#thread.call("prepare", payload, { signal })) as PreparedMedium;
  }

  close(): Promise<void> {
    return this.#thread.close();
  }
}
