import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { encoderInputs } from "../backbones/encoders/encoder-graph.js";
import { throwIfAborted } from "../core/abort.js";
import { EpalmError, unexpected } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import { multipliesIntegers } from "../core/precision.js";
import { attribute, traced } from "../core/trace.js";
import type { LimitsByKind } from "../media/encoder-input.js";
import { type FrameImages, isFrameImages } from "../media/read-media.js";
import { preparedFor } from "../model/encoders.js";
import type { EncoderManifest } from "../model/manifest.js";
import type { Session } from "../runtime/session.js";
import { elementCount, formatShape, sameShape, type Tensor } from "../tensor/tensor.js";
import { EncoderBatcher, type EncoderCounts, type PatchChoice } from "./encoder-batcher.js";
import { EncoderStateCache, type MediumStates } from "./encoder-state-cache.js";
import type { MediaThread, PreparedMedium, PrepareMedium } from "./media-thread.js";
import { type MediumSource, readMedium } from "./read-medium.js";

/**
 * An image, an audio file or a video in one of several forms: a file in any form of `MediumSource`; a preprocessed
 * encoder input (`pixels` [3, height, width] of an image or [frames, 3, height, width] of a video, or `features`
 * [frames, mel bins] of audio); or encoder states, such as the result of `Model.encode`. A clip may also be a list of
 * encoded images (`frames`), in order of time and evenly spaced.
 */
export type MediumInput =
  | MediumSource
  | FrameImages
  | { readonly pixels: Float32Array }
  | { readonly features: Float32Array }
  | {
      readonly states: Tensor;
      readonly modality?: Modality | undefined;
      /** Patch states [D, N, dv]; only for adapters that take them. */
      readonly patches?: Tensor | undefined;
    };

/** The result of encoding a medium. */
export interface EncoderOutput {
  readonly modality: Modality;
  /** [CLS] states after the final norm, [depth, dv], first block first. */
  readonly states: Tensor;
  /**
   * States of all patches after the last D blocks and the final norm, [D, N, dv]; only if an adapter of the model takes
   * patch states of this modality.
   */
  readonly patches?: Tensor | undefined;
  /** Whether the states were already known. */
  readonly cached: boolean;
  /** Milliseconds. */
  readonly timings: { readonly media: number; readonly encoder: number };
}

export interface MediaEncoderOptions {
  /** Limits on media. */
  readonly mediaLimits?: LimitsByKind | undefined;
  /** Size of the state cache, whose keys are the SHA-256 of media, in bytes. Default: 0, which disables it. */
  readonly stateCacheBytes?: number | undefined;
  /**
   * Maximum number of waiting images that one encoder run takes. Default: 8. Quantized encoders and encoders of audio
   * and video, whose examples are large, always take one at a time.
   */
  readonly encoderBatch?: number | undefined;
}

/** Counters of all encoders together since the model was loaded. */
export interface MediaEncoderCounts extends EncoderCounts {
  readonly cacheHits: number;
  readonly cacheMisses: number;
  readonly cacheBytes: number;
}

/** An encoder of the model and its session. */
export interface OpenedEncoder {
  readonly encoder: EncoderManifest;
  readonly session: Pick<Session, "run">;
  /** The patch states that the session returns in addition. */
  readonly patches?: PatchChoice | undefined;
}

/** A larger batch takes as long per image and makes requests wait longer. */
const ENCODER_BATCH = 8;

/** Bytes hashed at a time, which takes 1 ms; other work can run between two pieces. */
const HASHED_BYTES = 1 << 20;

/** An encoder and its queue. */
interface ModalityEncoder {
  readonly encoder: EncoderManifest;
  readonly batcher: EncoderBatcher;
}

/** Encodes media; worker threads do the heavy work. Media whose states are cached are neither decoded nor encoded. */
export class MediaEncoder {
  readonly #media: MediaThread;
  readonly #encoders: ReadonlyMap<Modality, ModalityEncoder>;
  readonly #cache: EncoderStateCache;
  readonly #limits: LimitsByKind;
  #hits = 0;
  #misses = 0;

  /** @param encoders of different modalities, at least one */
  constructor(media: MediaThread, encoders: readonly OpenedEncoder[], options: MediaEncoderOptions = {}) {
    this.#media = media;
    this.#encoders = new Map(
      encoders.map(({ encoder, session, patches }) => {
        const batcher = new EncoderBatcher(session, encoder, largestBatch(encoder, options), patches);
        return [encoder.modality, { encoder, batcher }];
      }),
    );
    this.#cache = new EncoderStateCache(options.stateCacheBytes ?? 0);
    this.#limits = options.mediaLimits ?? {};
  }

  get counts(): MediaEncoderCounts {
    const counts = Array.from(this.#encoders.values(), ({ batcher }) => batcher.counts);
    return {
      runs: counts.reduce((sum, { runs }) => sum + runs, 0),
      examples: counts.reduce((sum, { examples }) => sum + examples, 0),
      cacheHits: this.#hits,
      cacheMisses: this.#misses,
      cacheBytes: this.#cache.bytes,
    };
  }

  /**
   * @param modality the modality as which the medium is interpreted. Default: detected, among the supported ones
   * @throws invalid_option for a modality that the model does not support, and for pixels, features or states of the
   *   wrong shape; aborted; the errors of `encoderInput` and `kindAmong`
   */
  async encode(medium: MediumInput, modality?: Modality, signal?: AbortSignal): Promise<EncoderOutput> {
    const started = performance.now();
    throwIfAborted(signal);
    const read = await readMedium(medium, signal);
    if (isStates(read)) return this.#checkedStates(read, modality);
    const key = await this.#key(read, modality);
    const known = key === undefined ? undefined : this.#cache.get(key);
    if (key !== undefined) this.#count(known !== undefined && this.#isComplete(known));
    if (known && this.#isComplete(known)) {
      return traced("encode", { [attribute.modality]: known.modality, [attribute.cacheHit]: true }, async () => ({
        ...known,
        cached: true,
        timings: { media: performance.now() - started, encoder: 0 },
      }));
    }
    const prepared = await traced("decode", {}, () => this.#prepare(read, modality, signal));
    throwIfAborted(signal);
    const decoded = performance.now();
    const encoded = await this.#encodePrepared(prepared, signal);
    if (key !== undefined) this.#cache.set(key, encoded);
    const timings = { media: decoded - started, encoder: performance.now() - decoded };
    return { ...encoded, cached: false, timings };
  }

  #encodePrepared({ modality, data }: PreparedMedium, signal: AbortSignal | undefined): Promise<MediumStates> {
    return traced("encode", { [attribute.modality]: modality, [attribute.cacheHit]: false }, async (span) => {
      const { batchSize, ...states } = await this.#encoderFor(modality).batcher.encode(data, signal);
      span.setAttribute(attribute.batchSize, batchSize);
      return { modality, ...states };
    });
  }

  /** Zeros in place of the states of a medium. */
  zeroStates(modality: Modality): EncoderOutput {
    const { encoder, batcher } = this.#encoderFor(modality);
    const { depth, width } = encoder;
    const { layout, depths = 0 } = batcher.patches ?? {};
    const patches = layout && zeros([depths, layout.frames * layout.rows * layout.columns, width]);
    return { modality, states: zeros([depth, width]), ...(patches ? { patches } : {}), cached: true, timings: noTime };
  }

  /** Number of the last blocks whose patch states are computed for media of a modality. */
  patchDepths(modality: Modality): number {
    return this.#encoderFor(modality).batcher.patches?.depths ?? 0;
  }

  /** Computes patch states for media of a modality from now on, with a session that returns them. */
  usePatches(modality: Modality, session: Session, patches: PatchChoice): void {
    this.#encoderFor(modality).batcher.usePatches(session, patches);
  }

  /** Whether cached states contain all patch states that are needed now. */
  #isComplete({ modality, patches }: MediumStates): boolean {
    return (patches?.shape[0] ?? 0) >= this.patchDepths(modality);
  }

  #encoderFor(modality: Modality): ModalityEncoder {
    const encoder = this.#encoders.get(modality);
    if (encoder) return encoder;
    throw unexpected("invalid_option", "modality", this.#modalities().join(" or "), modality);
  }

  #modalities(): Modality[] {
    return Array.from(this.#encoders.keys());
  }

  /** The cache key of a medium; undefined if its states are not cached. */
  async #key(medium: UnencodedMedium, modality: Modality | undefined): Promise<string | undefined> {
    if (this.#cache.capacity === 0 || !(medium instanceof Uint8Array)) return undefined;
    return `${modality ?? "any"} ${await contentHash(medium)}`;
  }

  #count(isHit: boolean): void {
    if (isHit) this.#hits++;
    else this.#misses++;
  }

  async #prepare(
    medium: UnencodedMedium,
    modality: Modality | undefined,
    signal: AbortSignal | undefined,
  ): Promise<PreparedMedium> {
    if (typeof medium === "string" || medium instanceof Uint8Array) {
      const taken = modality === undefined ? this.#modalities() : [modality];
      const choices = taken.map((one) => preparedFor(this.#encoderFor(one).encoder));
      return this.#media.prepare({ input: medium, choices, limits: this.#limits }, signal);
    }
    if (isFrames(medium)) return this.#media.prepare(this.#clip(medium, modality), signal);
    expectPrepared(medium);
    const [name, data] =
      "pixels" in medium ? (["pixels", medium.pixels] as const) : (["features", medium.features] as const);
    const taking = this.#modalities().find((one) => encoderInputs[one] === name);
    const { encoder } = this.#encoderFor(modality ?? taking ?? (name === "pixels" ? "image" : "audio"));
    const { inputShape } = encoder;
    if (encoderInputs[encoder.modality] === name && data.length === elementCount(inputShape)) {
      return { modality: encoder.modality, data };
    }
    const wanted = encoderInputs[encoder.modality];
    const kind = wanted === name ? "" : `${wanted}, `;
    const expected = `expected ${kind}${elementCount(inputShape)} numbers, ${formatShape(inputShape)}`;
    throw new EpalmError("invalid_option", `${name}: ${expected}, got ${data.length}`);
  }

  #clip(input: FrameImages, modality: Modality = "video"): PrepareMedium {
    if (modality !== "video") throw unexpected("invalid_option", "media", modality, "the frames of a video");
    return { input, choices: [preparedFor(this.#encoderFor("video").encoder)], limits: this.#limits };
  }

  #checkedStates({ states, modality: own, patches }: States, wanted: Modality | undefined): EncoderOutput {
    const modality = wanted ?? own ?? this.#modalities()[0] ?? "image";
    if (own !== undefined && own !== modality) {
      throw unexpected("invalid_option", "modality", modality, `the states of ${own}`);
    }
    const { encoder, batcher } = this.#encoderFor(modality);
    const { depth, width } = encoder;
    if (patches) expectPatches(patches, batcher.patches, width);
    if (states.type !== "float32" || !sameShape(states.shape, [depth, width])) {
      throw unexpected(
        "invalid_option",
        "states",
        `float32 ${formatShape([depth, width])}`,
        `${states.type} ${formatShape(states.shape)}`,
      );
    }
    return { modality, states, ...(patches ? { patches } : {}), cached: true, timings: noTime };
  }
}

/** @throws invalid_option unless the patch states are arranged as those of the encoder */
function expectPatches({ type, shape }: Tensor, choice: PatchChoice | undefined, width: number): void {
  const { frames = 0, rows = 0, columns = 0 } = choice?.layout ?? {};
  const [depths = 0, ...rest] = shape;
  if (type === "float32" && sameShape(rest, [frames * rows * columns, width])) return;
  const expected = choice
    ? `float32 [${depths}, ${frames * rows * columns}, ${width}]`
    : "none, as no adapter takes any";
  throw unexpected("invalid_option", "patches", expected, `${type} ${formatShape(shape)}`);
}

function zeros(shape: readonly number[]): Tensor {
  return { type: "float32", shape, data: new Float32Array(elementCount(shape)) };
}

type States = Extract<MediumInput, { readonly states: Tensor }>;
/** A medium that was read and has not been encoded yet. */
type UnencodedMedium = Exclude<Awaited<ReturnType<typeof readMedium<Prepared | States | FrameImages>>>, States>;
type Prepared = Extract<MediumInput, { readonly pixels: Float32Array } | { readonly features: Float32Array }>;

function largestBatch({ modality, precision }: EncoderManifest, { encoderBatch }: MediaEncoderOptions): number {
  // int8 encoders quantize activations per tensor, so an image would get different states in a batch with others.
  return modality === "image" && !multipliesIntegers(precision) ? (encoderBatch ?? ENCODER_BATCH) : 1;
}

const noTime = { media: 0, encoder: 0 };

function isStates(medium: UnencodedMedium | States): medium is States {
  return typeof medium === "object" && medium !== null && "states" in medium;
}

/** Checks at run time, for JavaScript callers. @throws invalid_option */
function isFrames(medium: Prepared | FrameImages): medium is FrameImages {
  if (typeof medium !== "object" || medium === null || !isFrameImages(medium)) return false;
  const { frames } = medium;
  const isList = Array.isArray(frames) && frames.length > 0;
  if (isList && frames.every((frame) => frame instanceof Uint8Array)) return true;
  throw new EpalmError("invalid_option", "frames: expected a list of at least one encoded image");
}

/** Checks a medium at run time, for JavaScript callers. @throws invalid_option */
function expectPrepared(medium: unknown): asserts medium is Prepared {
  const isObject = typeof medium === "object" && medium !== null;
  if (isObject && "pixels" in medium && medium.pixels instanceof Float32Array) return;
  if (isObject && "features" in medium && medium.features instanceof Float32Array) return;
  const expected = "a path, a URL, bytes, a Blob, a stream, pixels, features or states";
  throw new EpalmError("invalid_option", `media: expected ${expected}`);
}

async function contentHash(bytes: Uint8Array): Promise<string> {
  const hash = createHash("sha256");
  for (let start = 0; start < bytes.length; start += HASHED_BYTES) {
    if (start > 0) await nextTurn();
    hash.update(bytes.subarray(start, start + HASHED_BYTES));
  }
  return hash.digest("hex");
}
