import { createHash } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { encoderInputs } from "../../backbones/encoders/encoder-graph.js";
import { patchOutput } from "../../backbones/encoders/patch-states.js";
import type { Device } from "../../core/device.js";
import { EpalmError } from "../../core/errors.js";
import { writeAtomically } from "../../core/files/atomic-write.js";
import type { Modality } from "../../core/modality.js";
import { randomStreams } from "../../core/random.js";
import { MediaThread } from "../../encoding/media-thread.js";
import type { AugmentSettings } from "../../media/augment/augment-settings.js";
import { augmentPixels } from "../../media/augment-pixels.js";
import { encoderInput } from "../../media/encoder-input.js";
import { encoderOf, preparedFor } from "../../model/encoders.js";
import type { EncoderManifest } from "../../model/manifest.js";
import { fileSha256, type ModelFolder } from "../../model/model-folder.js";
import { ownFiles } from "../../model/patch-graph.js";
import { openSession, type Session } from "../../runtime/session.js";
import { elementCount, floats, formatShape, type Tensor } from "../../tensor/tensor.js";

/** A medium, unchanged or with one augmentation. */
export interface View {
  readonly path: string;
  /** Number of the augmentation, from 1; 0: unchanged, unless there is a draw. */
  readonly augmentation: number;
  /** An augmentation that is used once, identified by the epoch and the item of it; its states are not cached. */
  readonly draw?: { readonly epoch: number; readonly item: number } | undefined;
}

export interface StatesOptions {
  /** Modality of the media. */
  readonly modality: Modality;
  /** Folder of the cached states, which several runs may share. */
  readonly cache: string;
  readonly mirror: boolean;
  /** Seed of the augmentations. */
  readonly seed: number;
  /** SHA-256 of media that is already known, by path; others are added. */
  readonly contents?: Map<string, string> | undefined;
  /** Number of the last blocks whose patch states are returned instead of [CLS] states. Default: 0, none. */
  readonly patchDepths?: number | undefined;
  /** Augmentations of numbered views and of draws. Default: crops of images, mirrored if `mirror` is set. */
  readonly augment?: AugmentSettings | undefined;
  /** Where the encoder is computed. Default: cpu. */
  readonly device?: Device | undefined;
}

/**
 * The states of a frozen encoder for media: `[depth, dv]`, or patch states `[D, N, dv]`. They are computed once per
 * view and cached on disk under a hash of the medium's bytes, the encoder's files and the preprocessing, so that
 * outdated states are never read. Only views with a draw are computed each time; `close` closes the encoder that they
 * require.
 */
export class EncoderStates {
  readonly #folder: ModelFolder;
  readonly #encoder: EncoderManifest;
  readonly #options: StatesOptions;
  readonly #encoderKey: string;
  readonly #contentKeys: Map<string, string>;
  /** The graph, its outputs, and the shape of all of them together. */
  readonly #graph: string;
  readonly #outputs: readonly string[];
  readonly #shape: readonly number[];
  #media: MediaThread | undefined;
  #session: Promise<Session> | undefined;

  constructor(folder: ModelFolder, options: StatesOptions) {
    this.#folder = folder;
    this.#options = options;
    this.#contentKeys = options.contents ?? new Map();
    const { files } = folder.manifest;
    const encoder = encoderOf(folder.manifest, options.modality);
    this.#encoder = encoder;
    const own = ownFiles(folder.manifest, encoder);
    const graph = own.map((name) => [name, files[name]?.sha256]).sort();
    const { depth, patches } = encoder;
    const { patchDepths: depths = 0 } = options;
    const key = [graph, encoder.preprocessing];
    this.#encoderKey = sha256(JSON.stringify(depths === 0 ? key : [...key, "patches", depths]));
    this.#graph = join(folder.path, depths > 0 && patches ? patches.graph : encoder.graph);
    this.#outputs =
      depths === 0 ? ["cls_states"] : Array.from({ length: depths }, (_, index) => patchOutput(depth - depths + index));
    this.#shape = statesShape(encoder, depths);
  }

  /** Shape of the states of a medium. */
  get shape(): readonly number[] {
    return this.#shape;
  }

  /**
   * Computes the states that are not cached; afterwards, `read` finds all views.
   *
   * @throws aborted; invalid_model if the encoder returns states of the wrong size; errors of decoding
   */
  async prepare(
    views: readonly View[],
    hooks: {
      readonly signal?: AbortSignal | undefined;
      readonly onView?: ((done: number) => void) | undefined;
    } = {},
  ): Promise<void> {
    let session: Session | undefined;
    try {
      for (const [index, view] of views.entries()) {
        if (hooks.signal?.aborted) {
          throw new EpalmError("aborted", "stopped while computing encoder states; those already computed are cached");
        }
        const file = await this.#file(view);
        if (!existsSync(file)) {
          session ??= await this.#newSession();
          write(file, await this.#compute(session, view, hooks.signal));
        }
        hooks.onView?.(index + 1);
      }
    } finally {
      await session?.close();
    }
  }

  /**
   * The states of views. Those with a draw are computed, while the media thread decodes the next view.
   *
   * @throws the errors of `read` and of decoding
   */
  async readAll(views: readonly View[]): Promise<Float32Array[]> {
    const states: Float32Array[] = [];
    const decode = async (view: View | undefined) => (view?.draw ? this.#decoded(view) : undefined);
    let decoded = await decode(views[0]);
    for (const [index, view] of views.entries()) {
      const known = decoded;
      const own = known ? this.#openSession().then((session) => this.#encoded(session, known)) : this.read(view);
      const [ready, next] = await Promise.all([own, decode(views[index + 1])]);
      states.push(ready);
      decoded = next;
    }
    return states;
  }

  /** The states of a view, which are computed and cached unless they already are. @throws the errors of `prepare` */
  async readOrCompute(view: View, signal?: AbortSignal): Promise<Float32Array> {
    const file = await this.#file(view);
    if (!existsSync(file)) write(file, await this.#compute(await this.#openSession(), view, signal));
    return this.read(view);
  }

  /** The states of an encoder input, which are not cached. */
  async encode(input: Float32Array): Promise<Float32Array> {
    return this.#encoded(await this.#openSession(), input);
  }

  async close(): Promise<void> {
    const [session] = await Promise.all([this.#session, this.#media?.close()]);
    await session?.close();
  }

  /** @throws internal if the view was not prepared, or its file has been removed since */
  async read(view: View): Promise<Float32Array> {
    const file = await this.#file(view);
    const bytes = await readFile(file).catch(() => undefined);
    const expected = elementCount(this.#shape) * Float32Array.BYTES_PER_ELEMENT;
    if (bytes?.length !== expected) {
      throw new EpalmError("internal", `${file}: expected ${expected} bytes of states of ${view.path}`);
    }
    return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  }

  #openSession(): Promise<Session> {
    this.#session ??= this.#newSession();
    return this.#session;
  }

  #newSession(): Promise<Session> {
    return openSession(this.#graph, { device: this.#options.device });
  }

  async #contentOf(path: string): Promise<string> {
    const content = this.#contentKeys.get(path) ?? (await fileSha256(path));
    this.#contentKeys.set(path, content);
    return content;
  }

  async #file({ path, augmentation }: View): Promise<string> {
    const content = await this.#contentOf(path);
    const { cache, mirror, seed, augment } = this.#options;
    const change = augmentation === 0 ? "" : JSON.stringify([augmentation, augment ?? mirror, seed]);
    const key = sha256(`${this.#encoderKey} ${content} ${change}`);
    return join(cache, key.slice(0, 2), `${key}.f32`);
  }

  async #compute(session: Session, view: View, signal: AbortSignal | undefined): Promise<Float32Array> {
    return this.#encoded(session, await this.#decoded(view, signal));
  }

  async #encoded(session: Session, data: Float32Array): Promise<Float32Array> {
    const { modality, inputShape } = this.#encoder;
    const input: Tensor = { type: "float32", shape: [1, ...inputShape], data };
    const results = await session.run({ [encoderInputs[modality]]: input }, this.#outputs);
    const parts = this.#outputs.flatMap((name) => (results[name] ? [floats(results[name])] : []));
    const states = new Float32Array(elementCount(this.#shape));
    if (parts.reduce((sum, { length }) => sum + length, 0) !== states.length) {
      const expected = `expected states ${formatShape(this.#shape)}`;
      throw new EpalmError("invalid_model", `${this.#folder.path}: encoder: ${expected}`);
    }
    for (const [index, part] of parts.entries()) states.set(part, (index * states.length) / parts.length);
    return states;
  }

  /** The encoder's input for a view. */
  async #decoded(view: View, signal?: AbortSignal): Promise<Float32Array> {
    const { path, augmentation, draw } = view;
    const { augment: settings, seed } = this.#options;
    const prepared = preparedFor(this.#encoder);
    if (settings && (augmentation > 0 || draw)) {
      const number = draw ? [draw.epoch, draw.item] : [augmentation, await this.#contentOf(path)];
      this.#media ??= new MediaThread();
      const random = { settings, seed: seedOf([seed, ...number]) };
      const payload = { input: path, choices: [prepared], limits: {}, augmentation: random };
      return (await this.#media.prepare(payload, signal)).data;
    }
    const decoded = await encoderInput(path, prepared, {}, signal);
    const [, rows = 0, columns = 0] = this.#encoder.inputShape;
    return augmentation === 0 ? decoded : this.#augmented(decoded, rows, columns, path, augmentation);
  }

  /** The augmentation depends on the seed, the image and the number, but not on the order of the views. */
  #augmented(data: Float32Array, height: number, width: number, path: string, augmentation: number): Float32Array {
    const { mirror, seed } = this.#options;
    const content = Number.parseInt(this.#contentKeys.get(path)?.slice(0, 8) ?? "0", 16);
    const [random = Math.random] = randomStreams(
      (((seed * 101 + augmentation) * 0x1_0000_0000) % 2 ** 52) + content,
      1,
    );
    return augmentPixels({ data, height, width }, { random, mirror });
  }
}

/** Shape of the states of a medium: [depth, dv], or patch states [D, N, dv] of the last `patchDepths` blocks. */
function statesShape({ depth, width, patches }: EncoderManifest, patchDepths: number): readonly number[] {
  if (patchDepths === 0) return [depth, width];
  const { frames = 0, rows = 0, columns = 0 } = patches ?? {};
  return [patchDepths, frames * rows * columns, width];
}

/** A seed of 48 bits that depends on all parts. */
function seedOf(parts: readonly unknown[]): number {
  return Number.parseInt(sha256(JSON.stringify(parts)).slice(0, 12), 16);
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

/** Writes the file atomically. */
function write(file: string, { buffer, byteOffset, byteLength }: Float32Array): void {
  mkdirSync(dirname(file), { recursive: true });
  writeAtomically(file, new Uint8Array(buffer, byteOffset, byteLength));
}
