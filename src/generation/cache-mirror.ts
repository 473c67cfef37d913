import type { DecoderShape } from "../backbones/backbone.js";
import { memoized } from "../core/memoized.js";
import { GraphBuilder } from "../graph/builder.js";
import type { Graph, Value } from "../graph/ir.js";
import { encodeOnnx } from "../graph/onnx-writer.js";
import type { HeldTensors, HoldingSession, Session } from "../runtime/session.js";
import type { Tensor } from "../tensor/tensor.js";
import type { KeptColumns, KeyValueCache } from "./key-value-cache.js";
import { MirroredRows, type MirrorPlan } from "./mirrored-rows.js";

/**
 * A copy of cached keys and values in the memory of the decoder's device, so that steps with one new token per sequence
 * do not send them again. It has the rows of the last such step. A row is sent when its sequence joins; what a step
 * adds is written on the device as well, and rows that change places or leave are moved there.
 */
export class CacheMirror {
  readonly #cache: KeyValueCache;
  readonly #rows = new MirroredRows();
  readonly #session: (change: Change) => Promise<HoldingSession>;
  #held: HeldTensors = {};
  #capacity = 0;

  private constructor(open: (graph: Uint8Array) => Promise<HoldingSession>, shape: DecoderShape, cache: KeyValueCache) {
    this.#cache = cache;
    this.#session = memoized((change) => open(encodeOnnx(changeGraph(change, shape))));
  }

  /** The mirror of a cache on the device of a decoder's session; undefined if the device keeps no tensors. */
  static of(session: Session, shape: DecoderShape, cache: KeyValueCache): CacheMirror | undefined {
    return session.openHolding && new CacheMirror(session.openHolding, shape, cache);
  }

  /** Follows `KeyValueCache.reorder`. */
  reorder(sources: readonly (number | undefined)[]): void {
    this.#rows.reorder(sources);
  }

  /**
   * Graph inputs `past_keys.I` and `past_values.I` for rows of the cache, as `KeyValueCache.feeds` returns them.
   *
   * @param lengths cached elements of each row from `first` on
   */
  async feeds(first: number, lengths: readonly number[]): Promise<HeldTensors> {
    // Longer rows are sent again, which happens once per block of positions.
    if (this.#capacity !== this.#cache.capacity) this.clear();
    const plan = this.#rows.find(first, lengths);
    if (!plan.isUnchanged) this.#replace(await this.#rearranged(plan));
    this.#capacity = this.#cache.capacity;
    this.#rows.hold(first, lengths.length);
    return this.#held;
  }

  async #rearranged({ keepsMirror, sent, rows }: MirrorPlan): Promise<HeldTensors> {
    const feeds = { rows: { type: "int64", shape: [rows.length], data: BigInt64Array.from(rows, BigInt) } } as const;
    const past = sent && this.#cache.feeds(sent.first, sent.count, false);
    if (!keepsMirror) return (await this.#session("select")).hold({ ...feeds, ...past });
    if (!past) return (await this.#session("select")).hold(feeds, this.#held);
    return (await this.#session("join")).hold({ ...feeds, ...renamed(past, "past", "sent") }, this.#held);
  }

  /** Stores the only column of `new_keys_values` of the step to which the mirror was given, as the cache does. */
  async append(fresh: Tensor, kept: readonly KeptColumns[]): Promise<void> {
    if (kept.length === 0) return;
    const [count = 0] = fresh.shape;
    const data = new Uint8Array(count * this.#capacity);
    for (const { stepIndex, at } of kept) data[stepIndex * this.#capacity + at] = 1;
    const at: Tensor = { type: "bool", shape: [count, 1, this.#capacity, 1], data };
    this.#replace(await (await this.#session("append")).hold({ fresh, at }, this.#held));
  }

  /** Rows of the cache have grown in a step to which the mirror was not given. */
  forget(kept: readonly KeptColumns[]): void {
    for (const { cacheIndex } of kept) this.#rows.forget(cacheIndex);
  }

  /** Frees the memory of the device. */
  clear(): void {
    this.#replace({});
    this.#rows.clear();
  }

  #replace(present: HeldTensors): void {
    for (const tensor of Object.values(this.#held)) tensor.dispose();
    this.#held = renamed(present, "present", "past");
  }
}

function renamed<T>(tensors: Readonly<Record<string, T>>, from: string, to: string): Record<string, T> {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name.replace(from, to), tensor]));
}

/**
 * How a mirror changes: it gets the new column of a step, other rows in another order, or rows of the cache as well.
 */
type Change = "append" | "select" | "join";

/**
 * The graph of a change, for all layers I: `past_keys.I`, `past_values.I` [B, G, C, headSize] -> `present_keys.I`, …
 *
 * Further inputs:
 * - append: `fresh` [B, 2 * L * G, 1, headSize], a step's new keys and values; `at` [B, 1, C, 1] bool, where they go
 * - select: `rows` [rows] int64
 * - join: `sent_keys.I`, `sent_values.I` [`sent`, G, C, headSize]; `rows` [rows] int64, which count the sent ones last
 */
function changeGraph(change: Change, { layers, attention: { keyHeads, headSize } }: DecoderShape): Graph {
  const g = new GraphBuilder(`${change} cache`);
  const parts = Array.from({ length: layers }, (_, layer) => [`keys.${layer}`, `values.${layer}`]).flat();
  const input = (of: string, batch: string) => g.input(of, "float32", [batch, keyHeads, "past", headSize]);
  const changed = changesIn(g, change, { layers, keyHeads, headSize });
  parts.forEach((part, index) => {
    const past = input(`past_${part}`, "batch");
    const sent = change === "join" ? input(`sent_${part}`, "sent") : undefined;
    g.output(`present_${part}`, changed(sent ? g.concat([past, sent], 0) : past, index));
  });
  return g.finish();
}

function changesIn(
  g: GraphBuilder,
  change: Change,
  { layers, keyHeads, headSize }: { readonly layers: number; readonly keyHeads: number; readonly headSize: number },
): (past: Value, index: number) => Value {
  if (change !== "append") {
    const rows = g.input("rows", "int64", ["rows"]);
    return (past) => g.gather(past, rows);
  }
  const fresh = g.input("fresh", "float32", ["batch", 2 * layers * keyHeads, 1, headSize]);
  const at = g.input("at", "bool", ["batch", 1, "past", 1]);
  const columns = g.split(fresh, new Array<number>(2 * layers).fill(keyHeads), 1);
  return (past, index) => g.where(at, columns[index] as Value, past);
}
