import type { DecoderShape } from "../backbones/backbone.js";
import type { Tensor } from "../tensor/tensor.js";
import type { CachedPrefix } from "./prefix-cache.js";

/** The time axis grows in blocks: each growth copies the cache, and each unused position costs a masked score. */
const TIME_BLOCK = 64;

/**
 * Masked positions of a cache in which nothing is cached yet. With none, execution providers for GPUs end the process
 * (measured with WebGPU of ONNX Runtime 1.30).
 */
export const EMPTY_TIME = 1;

/** The columns of a step's new keys and values that are kept, and their position in the cache. */
export interface KeptColumns {
  /** Row of the cache. */
  readonly cacheIndex: number;
  /** Row of the step. */
  readonly stepIndex: number;
  /** Columns of the step, `from` (inclusive) to `to` (exclusive). */
  readonly from: number;
  readonly to: number;
  /** Position of the first of these columns on the time axis of the cache. */
  readonly at: number;
}

/** Keys and values of one layer, each of shape [rows, key/value heads, capacity, head size]. */
interface LayerBuffers {
  keys: Float32Array;
  values: Float32Array;
}

/**
 * Keys and values of all running sequences, one row per sequence. Rows are contiguous, so that any range of rows is a
 * view that ONNX Runtime reads without copying. Each row is filled from position 0.
 */
export class KeyValueCache {
  readonly #shape: DecoderShape;
  #layers: LayerBuffers[];
  #rowCapacity = 0;
  #capacity = 0;
  #views = new Map<string, Readonly<Record<string, Tensor>>>();

  constructor(shape: DecoderShape) {
    this.#shape = shape;
    this.#layers = Array.from({ length: shape.layers }, () => ({
      keys: new Float32Array(),
      values: new Float32Array(),
    }));
  }

  /** Allocated bytes. */
  get bytes(): number {
    return this.#layers.reduce((sum, { keys, values }) => sum + keys.byteLength + values.byteLength, 0);
  }

  /** Grows the cache to at least `rows` rows of `time` elements and keeps its content. */
  reserve(rows: number, time: number): void {
    const rowCapacity = Math.max(rows, this.#rowCapacity);
    const capacity = Math.max(Math.ceil(time / TIME_BLOCK) * TIME_BLOCK, this.#capacity);
    if (rowCapacity === this.#rowCapacity && capacity === this.#capacity) return;
    const { keyHeads, headSize } = this.#shape.attention;
    const [oldRun, newRun] = [this.#capacity * headSize, capacity * headSize];
    const grow = (old: Float32Array) => {
      const grown = new Float32Array(rowCapacity * keyHeads * newRun);
      for (let run = 0; run < this.#rowCapacity * keyHeads; run++) {
        grown.set(old.subarray(run * oldRun, (run + 1) * oldRun), run * newRun);
      }
      return grown;
    };
    this.#layers = this.#layers.map(({ keys, values }) => ({ keys: grow(keys), values: grow(values) }));
    this.#rowCapacity = rowCapacity;
    this.#capacity = capacity;
    this.#views.clear();
  }

  /** Forgets all rows and frees their memory. */
  clear(): void {
    this.#layers = this.#layers.map(() => ({ keys: new Float32Array(), values: new Float32Array() }));
    this.#rowCapacity = 0;
    this.#capacity = 0;
    this.#views.clear();
  }

  /** Graph inputs `past_keys.I` and `past_values.I` for rows [first, first + count), of `time(empty)` positions. */
  feeds(first: number, count: number, empty: boolean): Readonly<Record<string, Tensor>> {
    const key = empty ? `empty ${count}` : `${first} ${count}`;
    const known = this.#views.get(key);
    if (known) return known;
    const { keyHeads, headSize } = this.#shape.attention;
    const time = this.time(empty);
    const run = keyHeads * time * headSize;
    const view = (data: Float32Array): Tensor => ({
      type: "float32",
      shape: [count, keyHeads, time, headSize],
      data: empty ? new Float32Array(count * run) : data.subarray(first * run, (first + count) * run),
    });
    const feeds: Record<string, Tensor> = {};
    this.#layers.forEach(({ keys, values }, layer) => {
      feeds[`past_keys.${layer}`] = view(keys);
      feeds[`past_values.${layer}`] = view(values);
    });
    this.#views.set(key, feeds);
    return feeds;
  }

  get capacity(): number {
    return this.#capacity;
  }

  /** Length of the time axis of the tensors that `feeds` returns. */
  time(empty: boolean): number {
    return empty ? EMPTY_TIME : this.#capacity;
  }

  /** Stores columns of `new_keys_values`, [step rows, 2 * layers * key/value heads, columns, head size]. */
  append(fresh: Tensor, kept: readonly KeptColumns[]): void {
    const { keyHeads, headSize } = this.#shape.attention;
    const [, heads = 0, columns = 0] = fresh.shape;
    const source = fresh.data as Float32Array;
    for (const { cacheIndex, stepIndex, from, to, at } of kept) {
      const length = (to - from) * headSize;
      for (let index = 0; index < heads; index++) {
        const layer = this.#layers[Math.floor(index / (2 * keyHeads))] as LayerBuffers;
        const target = index % (2 * keyHeads) < keyHeads ? layer.keys : layer.values;
        const start = ((stepIndex * heads + index) * columns + from) * headSize;
        const end = ((cacheIndex * keyHeads + (index % keyHeads)) * this.#capacity + at) * headSize;
        // Runs are short (one head of one token when decoding): a loop is faster than a view and `set`.
        for (let i = 0; i < length; i++) target[end + i] = source[start + i] as number;
      }
    }
  }

  /** A copy of the first `count` elements of a row. */
  prefixOf(row: number, count: number): CachedPrefix {
    const { keyHeads, headSize } = this.#shape.attention;
    const [run, size] = [this.#capacity * headSize, count * headSize];
    const copy = (data: Float32Array) => {
      const copied = new Float32Array(keyHeads * size);
      for (let head = 0; head < keyHeads; head++) {
        const start = (row * keyHeads + head) * run;
        copied.set(data.subarray(start, start + size), head * size);
      }
      return copied;
    };
    return { count, layers: this.#layers.map(({ keys, values }) => ({ keys: copy(keys), values: copy(values) })) };
  }

  /** Fills the beginning of a row, for which the time axis must be long enough. */
  restore(row: number, { count, layers }: CachedPrefix): void {
    const { keyHeads, headSize } = this.#shape.attention;
    const [run, size] = [this.#capacity * headSize, count * headSize];
    for (const [index, { keys, values }] of layers.entries()) {
      const layer = this.#layers[index] as LayerBuffers;
      for (let head = 0; head < keyHeads; head++) {
        const start = (row * keyHeads + head) * run;
        layer.keys.set(keys.subarray(head * size, (head + 1) * size), start);
        layer.values.set(values.subarray(head * size, (head + 1) * size), start);
      }
    }
  }

  /**
   * Rearranges rows: the first `times[i]` elements of row `sources[i]` are copied to row i. A row whose source is
   * undefined starts empty.
   */
  reorder(sources: readonly (number | undefined)[], times: readonly number[]): void {
    const pending = new Map<number, number>();
    sources.forEach((source, row) => {
      if (source !== undefined && source !== row) pending.set(row, source);
    });
    if (pending.size === 0) return;
    this.reserve(Math.max(sources.length, 1 + Math.max(...pending.values())) + 1, 0);
    // A row can be overwritten once no other row needs it as a source; moving one row to the spare breaks a cycle.
    const spare = this.#rowCapacity - 1;
    while (pending.size > 0) {
      const needed = new Set(pending.values());
      const free = Array.from(pending.keys()).filter((row) => !needed.has(row));
      if (free.length === 0) {
        const row = pending.keys().next().value as number;
        this.#copyRow(row, spare, Math.max(...times));
        for (const [target, source] of pending) if (source === row) pending.set(target, spare);
        continue;
      }
      for (const row of free) {
        this.#copyRow(pending.get(row) as number, row, times[row] ?? 0);
        pending.delete(row);
      }
    }
  }

  #copyRow(from: number, to: number, time: number): void {
    const { keyHeads, headSize } = this.#shape.attention;
    const run = this.#capacity * headSize;
    for (const { keys, values } of this.#layers) {
      for (const data of [keys, values]) {
        for (let head = 0; head < keyHeads; head++) {
          const source = (from * keyHeads + head) * run;
          data.copyWithin((to * keyHeads + head) * run, source, source + time * headSize);
        }
      }
    }
  }
}
