import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { EpalmError } from "../errors.js";
import type { ImageLimits } from "../media/image.js";
import type { EncoderOf } from "../model/encoders.js";
import type { Session } from "../runtime/session.js";
import { elementCount, formatShape, sameShape, type Tensor } from "../tensor/tensor.js";
import { EncoderBatcher, type EncoderCounts } from "./encoder-batcher.js";
import { EncoderStateCache } from "./encoder-state-cache.js";
import type { MediaThread } from "./media-thread.js";

/**
 * A picture: the path of a file, the bytes of one, pixels that are prepared already, [3, height, width], or what
 * `Model.perceive` made of one.
 */
export type ImageInput =
  | string
  | Uint8Array
  | { readonly pixels: Float32Array }
  | { readonly states: Tensor };

/** A picture as the encoder sees it. */
export interface Percept {
  /** Normed [CLS] states, [depth, dv], first block first. */
  readonly states: Tensor;
  /** Whether they were known already. */
  readonly cached: boolean;
  /** Milliseconds. */
  readonly timings: { readonly media: number; readonly encoder: number };
}

export interface PerceiverOptions {
  /** What a picture may be at most. */
  readonly imageLimits?: ImageLimits | undefined;
  /** States that are kept by the sha256 of the picture's bytes, in bytes. Default 0: none. */
  readonly stateCacheBytes?: number | undefined;
  /**
   * The most pictures that one run of the encoder takes, of those that wait at the same time. Default 8. Encoders in
   * integers take one by one whatever it says.
   */
  readonly encoderBatch?: number | undefined;
}

/** What was done so far, since the model was loaded. */
export interface PerceiverCounts extends EncoderCounts {
  readonly cacheHits: number;
  readonly cacheMisses: number;
  readonly cacheBytes: number;
}

/** A larger batch makes those who wait wait longer, and is no faster per picture. */
const ENCODER_BATCH = 8;

/** Hashed at once; between two pieces, 1 ms of work each, others get their turn. */
const HASHED_BYTES = 1 << 20;

/** From media to encoder states, all heavy work in other threads. Pictures that were seen before skip decoding and the encoder. */
export class Perceiver {
  readonly #encoder: EncoderOf<"image">;
  readonly #media: MediaThread;
  readonly #batcher: EncoderBatcher;
  readonly #cache: EncoderStateCache;
  readonly #imageLimits: ImageLimits;
  #hits = 0;
  #misses = 0;

  constructor(
    encoder: EncoderOf<"image">,
    media: MediaThread,
    session: Session,
    options: PerceiverOptions = {},
  ) {
    this.#encoder = encoder;
    this.#media = media;
    // Integer encoders quantize activations per tensor: beside other pictures, a picture would have other states.
    const maxBatch = encoder.precision === "fp32" ? (options.encoderBatch ?? ENCODER_BATCH) : 1;
    this.#batcher = new EncoderBatcher(session, encoder, maxBatch);
    this.#cache = new EncoderStateCache(options.stateCacheBytes ?? 0);
    this.#imageLimits = options.imageLimits ?? {};
  }

  get counts(): PerceiverCounts {
    return {
      ...this.#batcher.counts,
      cacheHits: this.#hits,
      cacheMisses: this.#misses,
      cacheBytes: this.#cache.bytes,
    };
  }

  /** @throws what `decodeImage` throws, invalid_option for pixels or states of another shape, aborted */
  async perceive(image: ImageInput, signal?: AbortSignal): Promise<Percept> {
    const started = performance.now();
    throwIfAborted(signal);
    if (isStates(image)) return { states: this.#checked(image.states), cached: true, timings: noTime };
    const key =
      this.#cache.capacity > 0 && image instanceof Uint8Array ? await contentHash(image) : undefined;
    const known = key === undefined ? undefined : this.#cache.get(key);
    if (key !== undefined) this.#count(known !== undefined);
    if (known)
      return { states: known, cached: true, timings: { media: performance.now() - started, encoder: 0 } };
    const pixels = await this.#pixels(image);
    throwIfAborted(signal);
    const decoded = performance.now();
    const states = await this.#batcher.encode(pixels, signal);
    if (key !== undefined) this.#cache.set(key, states);
    const timings = { media: decoded - started, encoder: performance.now() - decoded };
    return { states, cached: false, timings };
  }

  /** What stands for no picture: zeros. */
  blind(): Percept {
    const { depth, width } = this.#encoder;
    const states: Tensor = { type: "float32", shape: [depth, width], data: new Float32Array(depth * width) };
    return { states, cached: true, timings: noTime };
  }

  #count(isHit: boolean): void {
    if (isHit) this.#hits++;
    else this.#misses++;
  }

  async #pixels(image: Exclude<ImageInput, { readonly states: Tensor }>): Promise<Float32Array> {
    const { preprocessing, inputShape } = this.#encoder;
    if (typeof image === "string" || image instanceof Uint8Array) {
      return this.#media.decodeImage(image, preprocessing, this.#imageLimits);
    }
    if (image.pixels.length === elementCount(inputShape)) return image.pixels;
    throw new EpalmError(
      "invalid_option",
      `pixels: expected ${elementCount(inputShape)} numbers, ${formatShape(inputShape)}, got ${image.pixels.length}`,
    );
  }

  #checked(states: Tensor): Tensor {
    const expected = [this.#encoder.depth, this.#encoder.width];
    if (states.type === "float32" && sameShape(states.shape, expected)) return states;
    throw new EpalmError(
      "invalid_option",
      `states: expected float32 ${formatShape(expected)}, got ${states.type} ${formatShape(states.shape)}`,
    );
  }
}

const noTime = { media: 0, encoder: 0 };

function isStates(image: ImageInput): image is { readonly states: Tensor } {
  return typeof image === "object" && "states" in image;
}

async function contentHash(bytes: Uint8Array): Promise<string> {
  const hash = createHash("sha256");
  for (let start = 0; start < bytes.length; start += HASHED_BYTES) {
    if (start > 0) await nextTurn();
    hash.update(bytes.subarray(start, start + HASHED_BYTES));
  }
  return hash.digest("hex");
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new EpalmError("aborted", "the request was taken back");
}
