import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";

/** How an attention's width is divided. Each key/value head serves heads / keyHeads consecutive query heads. */
export interface HeadLayout {
  readonly heads: number;
  readonly keyHeads: number;
  readonly headSize: number;
}

/** Keys and values by head: [B, keyHeads, T, headSize] each. */
export interface KeysValues {
  readonly keys: Value;
  readonly values: Value;
}

/** Keys and values of earlier steps, and the sizes by which the attention weights are split: int64 [past, step]. */
export interface PastKeysValues extends KeysValues {
  readonly sizes: Value;
}

/** How the scores of an attention are computed from queries and keys. */
export interface ScoreOptions {
  /** Default: 1 / sqrt(headSize). */
  readonly scale?: number | undefined;
  /** Soft cap of the scores, before the mask is added (Gemma 2). Default: none. */
  readonly cap?: number | undefined;
}

/** cap tanh(x / cap): close to x for small values, and never above the cap (Gemma 2, arXiv 2408.00118). */
export function softCap(g: GraphBuilder, x: Value, cap: number): Value {
  return g.multiply(g.tanh(g.divide(x, g.number(cap))), g.number(cap));
}

/** [B, T, n * headSize] -> [B, n, T, headSize] */
export function splitHeads(g: GraphBuilder, x: Value, headSize: number): Value {
  const heads = Number(x.shape.at(-1)) / headSize;
  return g.transpose(g.reshape(x, [0, 0, heads, headSize]), [0, 2, 1, 3]);
}

/** [B, n, T, headSize] -> [B, T, n * headSize] */
function joinHeads(g: GraphBuilder, x: Value): Value {
  const [, heads, , headSize] = x.shape;
  return g.reshape(g.transpose(x, [0, 2, 1, 3]), [0, 0, Number(heads) * Number(headSize)]);
}

/**
 * softmax(scale q k^T + bias) v, for queries [B, heads, T, headSize] -> [B, T, heads * headSize].
 *
 * The R = heads / keyHeads query heads that share a key/value head are treated as additional rows of it, so that keys
 * are never repeated in memory. `bias` is added to the scores: [B, 1 or keyHeads, R * T, all keys]. With `past`, scores
 * and weighted sums of cached and new keys are computed separately and then combined, so that the cache is read in
 * place and never copied.
 */
export function attention(
  g: GraphBuilder,
  q: Value,
  { keys, values }: KeysValues,
  layout: HeadLayout,
  bias?: Value,
  past?: PastKeysValues,
  { scale = layout.headSize ** -0.5, cap }: ScoreOptions = {},
): Value {
  const { heads, keyHeads, headSize } = layout;
  const capped = (scores: Value) => (cap === undefined ? scores : softCap(g, scores, cap));
  const grouped = heads === keyHeads ? q : g.reshape(q, [0, keyHeads, -1, headSize]);
  const queries = g.multiply(grouped, g.number(scale));
  const scoresOf = (k: Value) => g.matmul(queries, g.transpose(k, [0, 1, 3, 2]));
  const scores = capped(past ? g.concat([scoresOf(past.keys), scoresOf(keys)], -1) : scoresOf(keys));
  const weights = g.softmax(bias ? g.add(scores, bias) : scores);
  const sums = past ? sumWithPast(g, weights, values, past) : g.matmul(weights, values);
  return joinHeads(g, heads === keyHeads ? sums : g.reshape(sums, [0, heads, -1, headSize]));
}

/** The lowest float32: added to a score, it leaves no weight after the softmax. */
const HIDDEN = -3.4028234663852886e38;

/** What else the scores of visible keys depend on. */
export interface Proximity {
  /** One per head, for attentions without shared keys: how much a score falls per key of distance (ALiBi). */
  readonly slopes?: readonly number[] | undefined;
  /** The keys of perceptual tokens, as in `visibleFrom`. */
  readonly slotKeys?: Value | undefined;
}

/**
 * Attention mask, bool [B, T, keys], as a bias of the scores: [B, 1, R * T, keys], the same for all R heads that
 * share a key/value head; or [B, heads, T, keys] with slopes (ALiBi, Press et al. 2021, arXiv 2108.12409).
 *
 * ALiBi adds slope * position of the key. A softmax does not change if all scores of a row change equally, so the
 * positions may be counted from the end, which needs no other input than the mask.
 */
export function visibilityBias(
  g: GraphBuilder,
  visible: Value,
  { heads, keyHeads }: HeadLayout,
  { slopes, slotKeys }: Proximity = {},
): Value {
  const biasOf = (near: Value) => g.where(g.unsqueeze(visible, 1), near, g.number(HIDDEN));
  if (!slopes) return g.concat(new Array<Value>(heads / keyHeads).fill(biasOf(g.number(0))), 2);
  const falling = g.reshape(g.numbers(slopes.map((slope) => -slope)), [-1, 1, 1]);
  return biasOf(g.multiply(falling, g.unsqueeze(visibleFrom(g, visible, slotKeys), 1)));
}

/**
 * The keys of an attention mask, bool [B, T, keys], that are inside a sliding window: the last `size` keys that a token
 * attends to, itself included.
 */
export function insideWindow(g: GraphBuilder, visible: Value, size: number, slotKeys?: Value): Value {
  return g.and(visible, g.less(visibleFrom(g, visible, slotKeys), g.number(size + 0.5)));
}

/**
 * For each visible key, the number of visible keys from it to the last one, itself included: float32 [B, T, keys].
 * Keys of perceptual tokens, bool [B, keys], come before all others wherever they are stored.
 */
function visibleFrom(g: GraphBuilder, visible: Value, slotKeys?: Value): Value {
  const counted = (keys: Value) => g.sumToTheEnd(g.cast(keys, "float32"));
  if (!slotKeys) return counted(visible);
  const isSlot = g.unsqueeze(slotKeys, 1);
  const others = counted(g.and(visible, g.not(isSlot)));
  const slots = g.add(counted(g.and(visible, isSlot)), g.slice(others, 2, 0, 1));
  return g.where(isSlot, slots, others);
}

/** Weighted sum of the values, with attention weights over [past, new] keys. */
function sumWithPast(g: GraphBuilder, weights: Value, values: Value, past: PastKeysValues): Value {
  const [onPast, onNew] = g.splitDynamic(weights, past.sizes, ["past", "step"], -1);
  return g.add(g.matmul(onPast, past.values), g.matmul(onNew, values));
}
