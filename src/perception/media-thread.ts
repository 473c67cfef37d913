import type { ImageLimits } from "../media/image.js";
import type { MediaInput } from "../media/read-media.js";
import type { ImagePreprocessing } from "../model/image-preprocessing.js";
import { Thread } from "../runtime/thread.js";

/** What the thread is asked for. */
export interface DecodeImage {
  readonly input: MediaInput;
  readonly preprocessing: ImagePreprocessing;
  readonly limits: ImageLimits;
}

/**
 * A thread that decodes and prepares media: resizing one photograph takes tens of milliseconds of JavaScript, in which
 * an event loop would move nothing.
 */
export class MediaThread {
  readonly #thread = new Thread(new URL("./media-thread-main.js", import.meta.url));

  /** See `decodeImage` in `media/`. */
  async decodeImage(
    input: MediaInput,
    preprocessing: ImagePreprocessing,
    limits: ImageLimits,
  ): Promise<Float32Array> {
    const payload: DecodeImage = { input, preprocessing, limits };
    return (await this.#thread.call("decodeImage", payload)) as Float32Array;
  }

  close(): Promise<void> {
    return this.#thread.close();
  }
}
