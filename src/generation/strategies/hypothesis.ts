import type { Choice, FinishedHypothesis, FinishReason } from "./strategy.js";

/** The new tokens of one sequence, including an end token. Immutable, so that beams can share a beginning. */
export interface Hypothesis {
  readonly tokens: readonly number[];
  /** Natural log-probability of each token under the model. */
  readonly logProbs: readonly number[];
  /** See `FinishedHypothesis`. */
  readonly alternatives: readonly (readonly Choice[])[];
  /** Sum of the log-probabilities by which its tokens were chosen: those of the model, or what was made of them. */
  readonly logProb: number;
}

export const emptyHypothesis: Hypothesis = { tokens: [], logProbs: [], alternatives: [], logProb: 0 };

/** The next token of a hypothesis. */
export interface Extension {
  /** With the log-probability by which it was chosen. */
  readonly choice: Choice;
  /** Its log-probability under the model itself. */
  readonly modelLogProb: number;
  readonly alternatives: readonly Choice[];
}

export function extend(hypothesis: Hypothesis, { choice, modelLogProb, alternatives }: Extension): Hypothesis {
  return {
    tokens: [...hypothesis.tokens, choice.token],
    logProbs: [...hypothesis.logProbs, modelLogProb],
    alternatives: [...hypothesis.alternatives, alternatives],
    logProb: hypothesis.logProb + choice.logProb,
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
  const { tokens, logProbs, alternatives, logProb } = hypothesis;
  return {
    tokens: finish === "end" ? tokens.slice(0, -1) : tokens,
    logProbs,
    alternatives,
    score: penalisedScore(logProb, tokens.length, lengthPenalty),
    finish,
  };
}

/** Orders the best first. Sorting is stable, so that the earlier of two equal hypotheses stays first. */
export function byScore(a: FinishedHypothesis, b: FinishedHypothesis): number {
  return b.score - a.score;
}
