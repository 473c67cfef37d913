import { unexpected } from "../../core/errors.js";
import { choiceAt } from "./next-tokens.js";
import type { Choice, NextTokens } from "./strategy.js";
import type { RankedTokens } from "./token-ranking.js";

/** How a distribution is changed before a token is drawn. */
export interface LogitsProcessors {
  /** The divisor of the log-probabilities; above 0. */
  readonly temperature: number;
  /** Number of most probable tokens to keep. Default: all. */
  readonly topK?: number | undefined;
  /** Keeps only the fewest most probable tokens that together have at least this probability. Default: all. */
  readonly topP?: number | undefined;
  /** Keeps only tokens that are at least this many times as probable as the most probable one. Default: all. */
  readonly minP?: number | undefined;
}

/** The probabilities of the best ranks. */
interface KeptProbabilities {
  readonly probabilities: Float64Array;
  /** Whether they are all that are kept; otherwise, lower ranks have the rest of the probability. */
  readonly isComplete: boolean;
}

/**
 * The probabilities from which a token is drawn, by rank. Tokens of lower ranks are cut off; at least one is kept.
 *
 * As in transformers 5.18, generation/logits_process.py: temperature, then top-k, then top-p and min-p on the
 * renormalised rest. If tokens at the cut are equally probable, the one with the lower id is kept; transformers' top-k
 * keeps all of them.
 *
 * @param total if `logProbs` are only the best ranks, the sum of exp((logProb - best) / temperature) over all ranks
 * @returns undefined if the tokens that are kept cannot be determined from these ranks
 */
function keptProbabilities(
  { logProbs }: NextTokens,
  { temperature, topK, topP, minP }: LogitsProcessors,
  total: number | undefined,
): KeptProbabilities | undefined {
  const best = logProbs[0];
  if (best === undefined || !Number.isFinite(best)) {
    throw unexpected("internal", "sampling", "a finite log-probability of the best token", String(best));
  }
  const weights = Float64Array.from(logProbs)
    .subarray(0, topK)
    .map((logProb) => Math.exp((logProb - best) / temperature));
  const isWhole = total === undefined || topK !== undefined;
  const probabilities = normalise(weights, isWhole ? undefined : total);
  const nucleus = topP === undefined ? probabilities.length : nucleusSize(probabilities, topP);
  if (nucleus === undefined && !isWhole) return undefined;
  const size = Math.min(nucleus ?? probabilities.length, likelyCount(probabilities, minP));
  const isComplete = isWhole || size < probabilities.length || (topP !== undefined && nucleus !== undefined);
  return { probabilities: isComplete ? normalise(probabilities.subarray(0, size)) : probabilities, isComplete };
}

/** The number of most probable tokens that together reach the probability `topP`; undefined if all of them do not. */
function nucleusSize(probabilities: Float64Array, topP: number): number | undefined {
  let reached = 0;
  for (const [rank, probability] of probabilities.entries()) {
    reached += probability;
    if (reached >= topP) return rank + 1;
  }
  return undefined;
}

/** The number of tokens that are at least `minP` times as probable as the first; at least one. */
function likelyCount(probabilities: Float64Array, minP = 0): number {
  const least = minP * (probabilities[0] ?? 0);
  const first = probabilities.findIndex((probability) => probability < least);
  return first === -1 ? probabilities.length : Math.max(1, first);
}

function normalise(weights: Float64Array, total = weights.reduce((sum, weight) => sum + weight, 0)): Float64Array {
  return weights.map((weight) => weight / total);
}

/** The probabilities of all tokens that are kept. @param next the whole distribution, or at least `topK` ranks */
export function applyLogitsProcessors(next: NextTokens, settings: LogitsProcessors): Float64Array {
  return keptProbabilities(next, settings, undefined)?.probabilities ?? new Float64Array();
}

/** Ranks that are sorted at first; they usually contain the token that is drawn. */
const FIRST_RANKS = 1024;

/** Draws a token at random. @param uniform a number in [0, 1) */
export function drawToken(ranked: RankedTokens, settings: LogitsProcessors, uniform: number): Choice {
  const { topK, temperature } = settings;
  for (let count = topK ?? Math.min(FIRST_RANKS, ranked.size); ; count = ranked.size) {
    const next = ranked.best(count);
    const isWhole = count >= ranked.size;
    const total = isWhole || topK !== undefined ? undefined : ranked.totalWeight(next.logProbs[0] ?? 0, temperature);
    const kept = keptProbabilities(next, settings, total);
    const rank = kept && drawRank(kept.probabilities, uniform);
    if (kept && (kept.isComplete || uniform < sumOf(kept.probabilities))) return choiceAt(next, rank ?? 0);
  }
}

function sumOf(probabilities: Float64Array): number {
  return probabilities.reduce((sum, probability) => sum + probability, 0);
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
