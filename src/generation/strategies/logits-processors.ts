import { unexpected } from "../../core/errors.js";
import type { NextTokens } from "./strategy.js";

/** How a distribution is changed before a token is drawn. */
export interface LogitsProcessors {
  /** The divisor of the log-probabilities; above 0. */
  readonly temperature: number;
  /** Number of most probable tokens to keep. Default: all. */
  readonly topK?: number | undefined;
  /** Keeps only the fewest most probable tokens that together have at least this probability. Default: all. */
  readonly topP?: number | undefined;
}

/**
 * The probabilities from which a token is drawn, by rank. Tokens of lower ranks are cut off; at least one is kept.
 *
 * As in transformers 5.18, generation/logits_process.py: temperature, then top-k, then top-p on the renormalised rest.
 * If tokens at the cut are equally probable, the one with the lower id is kept; transformers' top-k keeps all of them.
 */
export function applyLogitsProcessors(
  { logProbs }: NextTokens,
  { temperature, topK, topP }: LogitsProcessors,
): Float64Array {
  const best = logProbs[0];
  if (best === undefined || !Number.isFinite(best)) {
    throw unexpected("internal", "sampling", "a finite log-probability of the best token", String(best));
  }
  const kept = Float64Array.from(logProbs).subarray(0, topK);
  const probabilities = normalise(kept.map((logProb) => Math.exp((logProb - best) / temperature)));
  if (topP === undefined) return probabilities;
  return normalise(probabilities.subarray(0, nucleusSize(probabilities, topP)));
}

/** The number of most probable tokens that together reach the probability `topP`. */
function nucleusSize(probabilities: Float64Array, topP: number): number {
  let reached = 0;
  for (const [rank, probability] of probabilities.entries()) {
    reached += probability;
    if (reached >= topP) return rank + 1;
  }
  return probabilities.length;
}

function normalise(weights: Float64Array): Float64Array {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

/** The rank that corresponds to `uniform`, a number in [0, 1). */
export function drawRank(probabilities: Float64Array, uniform: number): number {
  let left = uniform;
  for (const [rank, probability] of probabilities.entries()) {
    left -= probability;
    if (left < 0) return rank;
  }
  return 0; // With a probability of about 2^-50, rounding makes the sum smaller than `uniform`: use the best token.
}
