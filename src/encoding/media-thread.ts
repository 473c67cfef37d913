import { throwIfAborted, untilAborted, withOwnSignal } from "../core/abort.js";
import { EpalmError } from "../core/errors.js";
import type { Augmentation } from "../media/augment/augmentation.js";
import type { LimitsByKind } from "../media/encoder-input.js";
import type { FrameImages, MediaInput } from "../media/read-media.js";
import type { Prepared } from "../model/encoder-preprocessing.js";
import { Thread, type ThreadHealth } from "../runtime/thread.js";

const entry = new URL("./media-thread.worker.js", import.meta.url);

/** The payload of a call to the thread. */
export interface PrepareMedium {
  readonly input: MediaInput | FrameImages;
  /** The modalities as which the medium may be interpreted, with their preprocessing. */
  readonly choices: readonly Prepared[];
  readonly limits: LimitsByKind;
  /** Random changes for training. Default: none. */
  readonly augmentation?: Augmentation | undefined;
}

/** A preprocessed medium and the modality of the encoder that takes it. */
export interface PreparedMedium {
  readonly modality: Prepared["modality"];
  readonly data: Float32Array;
}

/** The thread that all models of this process share, so that limits on processes and files apply to all together. */
let shared: SharedThread | undefined;

interface SharedThread {
  readonly thread: Thread;
  users: number;
}

function joinThread(): SharedThread {
  shared ??= { thread: new Thread(entry, { name: "media", restore: async () => undefined }), users: 0 };
  shared.users++;
  return shared;
}

/**
 * A worker thread that decodes and preprocesses media: features of audio and frames of videos take tens of
 * milliseconds of JavaScript, which would block the caller's event loop.
 */
export class MediaThread {
  readonly #shared = joinThread();
  readonly #closing = new AbortController();

  get health(): ThreadHealth {
    return this.#shared.thread;
  }

  /** Starts the process that decodes the first image, while the caller does something else. */
  warmUp(): void {
    // A failure is reported when the first image is decoded.
    this.#shared.thread.call("warmUp", undefined).catch(() => undefined);
  }

  /** See `encoderInput` in `media/`. If there are several choices, the medium's content decides (`kindAmong`). */
  async prepare(payload: PrepareMedium, signal?: AbortSignal): Promise<PreparedMedium> {
    const closing = this.#closing.signal;
    throwIfAborted(closing);
    const prepared = await withOwnSignal(signal ? [closing, signal] : [closing], (either) =>
      untilAborted(this.#shared.thread.call("prepare", payload, { signal: either }), closing),
    );
    return prepared as PreparedMedium;
  }

  /** Cancels all calls, and ends the thread if no other model uses it. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new EpalmError("internal", "the media thread was closed"));
    if (--this.#shared.users > 0) return;
    if (shared === this.#shared) shared = undefined;
    await this.#shared.thread.close();
  }
}
