/** Keys and values of the first elements of a sequence, for each layer: [key/value heads, count, head size]. */
export interface CachedPrefix {
  readonly count: number;
  readonly layers: readonly { readonly keys: Float32Array; readonly values: Float32Array }[];
}

/** What a scheduler has to know about the prefixes that a decoder keeps. */
export interface KnownPrefixes {
  /** Number of elements of a prefix; undefined if it is not kept. */
  count(key: string): number | undefined;
}

/** In bytes: the visual tokens of 70 images for SmolVLM-256M, or of one for LLaVA-Interleave 0.5B. */
const MAX_BYTES = 256 * 1024 * 1024;

/**
 * The beginnings of prompts up to the end of their visual tokens, so that a later question about the same image does
 * not compute them again. The ones that were used last are kept.
 */
export class PrefixCache implements KnownPrefixes {
  readonly #maxBytes: number;
  readonly #kept = new Map<string, CachedPrefix>();
  #bytes = 0;

  constructor(maxBytes = MAX_BYTES) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  count(key: string): number | undefined {
    return this.#kept.get(key)?.count;
  }

  /** Returns a prefix and marks it as used. */
  take(key: string): CachedPrefix | undefined {
    const found = this.#kept.get(key);
    if (!found) return undefined;
    this.#kept.delete(key);
    this.#kept.set(key, found);
    return found;
  }

  /** Keeps a prefix, unless it is too large for the cache. */
  put(key: string, prefix: CachedPrefix): void {
    const size = bytesOf(prefix);
    if (this.#kept.has(key) || size > this.#maxBytes) return;
    this.#kept.set(key, prefix);
    this.#bytes += size;
    for (const [oldest, { layers, count }] of this.#kept) {
      if (this.#bytes <= this.#maxBytes) return;
      this.#kept.delete(oldest);
      this.#bytes -= bytesOf({ layers, count });
    }
  }
}

function bytesOf({ layers }: CachedPrefix): number {
  return layers.reduce((sum, { keys, values }) => sum + keys.byteLength + values.byteLength, 0);
}
