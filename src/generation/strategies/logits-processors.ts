import { unexpected } from "../../core/errors.js";
import type { NextTokens } from "./strategy.js";

/** How a distribution is bent before a token is drawn. */
export interface LogitsProcessors {
  /** What log-probabilities are divided by; above 0. */
  readonly temperature: number;
  /** Only so many best tokens are kept; all if absent. */
  readonly topK?: number | undefined;
  /** Of these, only the fewest best tokens that together have at least this probability; all if absent. */
  readonly topP?: number | undefined;
}

/**
 * The probabilities to draw with, by rank; tokens of later ranks are cut off. At least one is kept.
 *
 * Order and meaning are those of transformers 5.18, generation/logits_process.py: temperature, top-k, then top-p on
 * what top-k left, normalised again. Of equals on an edge the lower token id is kept; there, top-k keeps them all.
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

/** How many best tokens are needed for a probability of `topP`. */
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

/** The rank in which `uniform`, from [0, 1), falls. */
export function drawRank(probabilities: Float64Array, uniform: number): number {
  let left = uniform;
  for (const [rank, probability] of probabilities.entries()) {
    left -= probability;
    if (left < 0) return rank;
  }
  return 0; // the sum was rounded to less than `uniform`: a chance of 2^-50 or so that the best token may have
}
