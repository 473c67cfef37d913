import { EpalmError } from "../core/errors.js";
import { float32Source } from "../tensor/float-conversion.js";
import { type ElementType, formatShape, type Shape, sameShape, type TensorSource } from "../tensor/tensor.js";
import type { Checkpoint } from "./checkpoint.js";
import { invalidCheckpoint, unsupportedTensor } from "./invalid-checkpoint.js";

export interface WeightsOptions {
  /** Prefix to remove from the names that begin with it. Default: none. */
  readonly prefix?: string;
  /** Maps a name in the file, without the prefix, to the name used here; `undefined` ignores the tensor. */
  readonly rename?: (name: string) => string | undefined;
}

/** A tensor and its name in the file. */
interface NamedSource {
  readonly fileName: string;
  /** For a tensor that cannot be read, the kind of tensor. */
  readonly source: TensorSource | { readonly kind: string };
}

const floatTypes: ReadonlySet<ElementType> = new Set(["float64", "float32", "float16", "bfloat16"]);

/** Number of names that a message lists. */
const LISTED_NAMES = 5;

/** Returns the tensors of a checkpoint by name and records which ones have been taken. */
export class Weights {
  readonly #path: string;
  readonly #sources: ReadonlyMap<string, NamedSource>;
  readonly #taken = new Set<string>();

  /** @throws `invalid_checkpoint` if two tensors of the file are renamed to the same name */
  constructor(checkpoint: Checkpoint, options: WeightsOptions = {}) {
    this.#path = checkpoint.path;
    this.#sources = renamedSources(checkpoint, options);
  }

  has(name: string): boolean {
    return this.#sources.has(name);
  }

  shapeOf(name: string): Shape | undefined {
    const source = this.#sources.get(name)?.source;
    return source && "shape" in source ? source.shape : undefined;
  }

  /** The element type of a tensor in the file. */
  typeOf(name: string): ElementType | undefined {
    const source = this.#sources.get(name)?.source;
    return source && "shape" in source ? source.type : undefined;
  }

  names(): Iterable<string> {
    return this.#sources.keys();
  }

  /**
   * A tensor as float32, converted when it is read. A tensor can be taken more than once (tied weights).
   *
   * @throws `invalid_checkpoint` if it is missing, has another shape, or does not contain floats
   */
  take(name: string, shape: Shape): TensorSource {
    const source = this.takeIfPresent(name, shape);
    if (!source) throw invalidCheckpoint(this.#path, `tensor ${name} is missing`);
    return source;
  }

  /** Like `take`, but returns `undefined` if the tensor is missing. */
  takeIfPresent(name: string, shape: Shape): TensorSource | undefined {
    const found = this.#sources.get(name);
    if (!found) return undefined;
    const { fileName, source } = found;
    if ("kind" in source) throw unsupportedTensor(this.#path, fileName, source.kind);
    if (!sameShape(source.shape, shape)) {
      throw invalidCheckpoint(
        this.#path,
        `tensor ${fileName}: expected shape ${formatShape(shape)}, got ${formatShape(source.shape)}`,
      );
    }
    if (!floatTypes.has(source.type)) {
      throw invalidCheckpoint(this.#path, `tensor ${fileName}: expected floats, got ${source.type}`);
    }
    this.#taken.add(name);
    return float32Source(source);
  }

  /**
   * Must be called after all known tensors have been taken: a remaining tensor means that the file has another
   * architecture than the one it was read as.
   *
   * @throws `unsupported_architecture`, listing the first names
   */
  finish(): void {
    const surplus = [...this.#sources].filter(([name]) => !this.#taken.has(name));
    if (surplus.length === 0) return;
    const names = surplus.slice(0, LISTED_NAMES).map(([, { fileName }]) => fileName);
    const more = surplus.length > names.length ? ` and ${surplus.length - names.length} more` : "";
    const noun = surplus.length === 1 ? "tensor" : "tensors";
    throw new EpalmError("unsupported_architecture", `${this.#path}: unexpected ${noun} ${names.join(", ")}${more}`);
  }
}

function renamedSources(
  checkpoint: Checkpoint,
  { prefix = "", rename = (name) => name }: WeightsOptions,
): ReadonlyMap<string, NamedSource> {
  const sources = new Map<string, NamedSource>();
  const unsupported = Array.from(checkpoint.unsupported ?? [], ([name, kind]) => [name, { kind }] as const);
  for (const [fileName, source] of [...checkpoint.tensors, ...unsupported]) {
    const name = rename(fileName.startsWith(prefix) ? fileName.slice(prefix.length) : fileName);
    if (name === undefined) continue;
    const other = sources.get(name);
    if (other) {
      throw invalidCheckpoint(checkpoint.path, `tensors ${other.fileName} and ${fileName} are both renamed to ${name}`);
    }
    sources.set(name, { fileName, source });
  }
  return sources;
}
