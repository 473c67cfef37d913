import { EpalmError } from "../core/errors.js";
import { float32Source } from "../tensor/float-conversion.js";
import { type ElementType, formatShape, type Shape, sameShape, type TensorSource } from "../tensor/tensor.js";
import type { Checkpoint } from "./checkpoint.js";
import { invalidCheckpoint } from "./invalid-checkpoint.js";

export interface WeightsOptions {
  /** Removed from every name that begins with it; default: nothing is. */
  readonly prefix?: string;
  /** From a name in the file, its prefix removed, to the one to ask for; `undefined`: knowingly ignored. */
  readonly rename?: (name: string) => string | undefined;
}

/** A tensor, and its name as the file spells it. */
interface NamedSource {
  readonly fileName: string;
  readonly source: TensorSource;
}

const floatTypes: ReadonlySet<ElementType> = new Set(["float64", "float32", "float16", "bfloat16"]);

/** How many names a message lists before it only counts. */
const LISTED_NAMES = 5;

/** Hands out the tensors of a checkpoint by name and remembers which were taken. */
export class Weights {
  readonly #path: string;
  readonly #sources: ReadonlyMap<string, NamedSource>;
  readonly #taken = new Set<string>();

  /** Throws `invalid_checkpoint` when two tensors of the file come to the same name. */
  constructor(checkpoint: Checkpoint, options: WeightsOptions = {}) {
    this.#path = checkpoint.path;
    this.#sources = renamedSources(checkpoint, options);
  }

  has(name: string): boolean {
    return this.#sources.has(name);
  }

  shapeOf(name: string): Shape | undefined {
    return this.#sources.get(name)?.source.shape;
  }

  names(): Iterable<string> {
    return this.#sources.keys();
  }

  /**
   * A tensor as float32, converted when it is read. May be taken more than once (tied weights).
   * Throws `invalid_checkpoint` when it is missing, of another shape, or not of floats.
   */
  take(name: string, shape: Shape): TensorSource {
    const source = this.takeIfPresent(name, shape);
    if (!source) throw invalidCheckpoint(this.#path, `tensor ${name} is missing`);
    return source;
  }

  /** As `take`, but a missing tensor gives `undefined`. */
  takeIfPresent(name: string, shape: Shape): TensorSource | undefined {
    const found = this.#sources.get(name);
    if (!found) return undefined;
    const { fileName, source } = found;
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
   * Call when everything known is taken: a tensor that is left means that the file is of another
   * architecture than it was read as. Throws `unsupported_architecture` with the first names.
   */
  finish(): void {
    const surplus = [...this.#sources].filter(([name]) => !this.#taken.has(name));
    if (surplus.length === 0) return;
    const names = surplus.slice(0, LISTED_NAMES).map(([, { fileName }]) => fileName);
    const more = surplus.length > names.length ? ` and ${surplus.length - names.length} more` : "";
    const noun = surplus.length === 1 ? "tensor" : "tensors";
    throw new EpalmError(
      "unsupported_architecture",
      `${this.#path}: surplus ${noun} ${names.join(", ")}${more}`,
    );
  }
}

function renamedSources(
  checkpoint: Checkpoint,
  { prefix = "", rename = (name) => name }: WeightsOptions,
): ReadonlyMap<string, NamedSource> {
  const sources = new Map<string, NamedSource>();
  for (const [fileName, source] of checkpoint.tensors) {
    const name = rename(fileName.startsWith(prefix) ? fileName.slice(prefix.length) : fileName);
    if (name === undefined) continue;
    const other = sources.get(name);
    if (other) {
      throw invalidCheckpoint(checkpoint.path, `tensors ${other.fileName} and ${fileName} are both ${name}`);
    }
    sources.set(name, { fileName, source });
  }
  return sources;
}
