import type { Choice } from "./next-tokens.js";
import type { FinishedHypothesis, FinishReason } from "./strategy.js";

/** The new tokens of one sequence, including an end token. Immutable, so that beams can share a beginning. */
export interface Hypothesis {
  readonly tokens: readonly number[];
  /** Natural log-probability of each token under the model. */
  readonly logProbs: readonly number[];
  /** Sum of `logProbs`. */
  readonly logProb: number;
}

export const emptyHypothesis: Hypothesis = { tokens: [], logProbs: [], logProb: 0 };

export function extend(hypothesis: Hypothesis, { token, logProb }: Choice): Hypothesis {
  return {
    tokens: [...hypothesis.tokens, token],
    logProbs: [...hypothesis.logProbs, logProb],
    logProb: hypothesis.logProb + logProb,
  };
}

/**
 * A sum of log-probabilities divided by a power of the length. Because log-probabilities are negative, a penalty above
 * 0 favours long sequences, and one below 0 short ones. The length includes the end token but not the prompt. Source:
 * transformers 5.18, generation/utils.py, `_update_finished_beams`.
 */
export function penalisedScore(logProb: number, length: number, lengthPenalty: number): number {
  return logProb / length ** lengthPenalty;
}

export function finishHypothesis(
  hypothesis: Hypothesis,
  finish: FinishReason,
  lengthPenalty: number,
): FinishedHypothesis {
  const { tokens, logProbs, logProb } = hypothesis;
  return {
    tokens: finish === "end" ? tokens.slice(0, -1) : tokens,
    logProbs,
    score: penalisedScore(logProb, tokens.length, lengthPenalty),
    finish,
  };
}

/** Orders the best first. Sorting is stable, so that the earlier of two equal hypotheses stays first. */
export function byScore(a: FinishedHypothesis, b: FinishedHypothesis): number {
  return b.score - a.score;
}
