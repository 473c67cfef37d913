import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";

/** How the width of an attention is divided. Each key head serves heads / keyHeads query heads in a row. */
export interface HeadLayout {
  readonly heads: number;
  readonly keyHeads: number;
  readonly headSize: number;
}

/** Keys and values, by head: [B, keyHeads, T, headSize] each. */
export interface KeysValues {
  readonly keys: Value;
  readonly values: Value;
}

/** Keys and values of earlier steps, and the sizes that divide the scores: int64 [past, step]. */
export interface PastKeysValues extends KeysValues {
  readonly sizes: Value;
}

/** [B, T, n * headSize] -> [B, n, T, headSize] */
export function splitHeads(g: GraphBuilder, x: Value, heads: number, headSize: number): Value {
  return g.transpose(g.reshape(x, [0, 0, heads, headSize]), [0, 2, 1, 3]);
}

/**
 * Queries [B, T, heads * headSize] -> [B, keyHeads, R * T, headSize], R = heads / keyHeads: the query heads
 * that share a key head are stacked as further rows, so that no key is ever repeated in memory.
 */
function groupQueries(g: GraphBuilder, q: Value, { heads, keyHeads, headSize }: HeadLayout): Value {
  if (heads === keyHeads) return splitHeads(g, q, heads, headSize);
  const grouped = g.reshape(q, [0, 0, keyHeads, heads / keyHeads, headSize]);
  return g.reshape(g.transpose(grouped, [0, 2, 3, 1, 4]), [0, keyHeads, -1, headSize]);
}

/** The way back: [B, keyHeads, R * T, headSize] -> [B, T, heads * headSize] */
function ungroupQueries(g: GraphBuilder, x: Value, { heads, keyHeads, headSize }: HeadLayout): Value {
  if (heads === keyHeads) return g.reshape(g.transpose(x, [0, 2, 1, 3]), [0, 0, heads * headSize]);
  const grouped = g.reshape(x, [0, keyHeads, heads / keyHeads, -1, headSize]);
  return g.reshape(g.transpose(grouped, [0, 3, 1, 2, 4]), [0, 0, heads * headSize]);
}

/**
 * softmax(q k^T / sqrt(headSize) + bias) v, for queries [B, T, heads * headSize] -> the same shape.
 *
 * `bias` is added to the scores: [B, 1, R * T, all keys], where R = heads / keyHeads. With `past`, scores
 * and sums over the earlier keys are computed beside those over the new ones, instead of joining both in
 * memory: the cache is read where it lies and never copied.
 */
export function attention(
  g: GraphBuilder,
  q: Value,
  { keys, values }: KeysValues,
  layout: HeadLayout,
  bias?: Value,
  past?: PastKeysValues,
): Value {
  const queries = g.multiply(groupQueries(g, q, layout), g.number(layout.headSize ** -0.5));
  const scoresOf = (k: Value) => g.matmul(queries, g.transpose(k, [0, 1, 3, 2]));
  const scores = past ? g.concat([scoresOf(past.keys), scoresOf(keys)], -1) : scoresOf(keys);
  const weights = g.softmax(bias ? g.add(scores, bias) : scores);
  if (!past) return ungroupQueries(g, g.matmul(weights, values), layout);
  const [onPast, onNew] = g.splitDynamic(weights, past.sizes, ["past", "step"], -1) as [Value, Value];
  const sum = g.add(g.matmul(onPast, past.values), g.matmul(onNew, values));
  return ungroupQueries(g, sum, layout);
}
