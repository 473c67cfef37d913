import { EpalmError, unexpected } from "../core/errors.js";

export interface RankingOptions {
  /**
   * What an answer is scored by: the `"sum"` of its tokens' log-probabilities, which is the answer's own
   * log-probability and favours short answers, or their `"mean"`, which does not look at length. Default: `"sum"`.
   */
  readonly normalisation?: "sum" | "mean";
}

export interface RankedAnswer {
  /** Which of the answers that were given. */
  readonly index: number;
  /** Natural log-probability of the whole answer. */
  readonly logProb: number;
  /** `logProb` per token, the end token included. */
  readonly meanLogProb: number;
  /** What answers are ordered by: `logProb` or `meanLogProb`, as the normalisation says. */
  readonly score: number;
  /** Softmax of the scores over the answers given: they sum to 1. */
  readonly probability: number;
}

/**
 * Ranks candidate answers, best first; of equals, the one given first.
 *
 * @param answers per answer, the natural log-probability of each of its tokens
 * @throws invalid_option if there is no answer, an answer has no token, or the normalisation is unknown; internal if a number is not finite
 */
export function rankAnswers(
  answers: readonly (readonly number[])[],
  { normalisation = "sum" }: RankingOptions = {},
): RankedAnswer[] {
  if (answers.length === 0) throw new EpalmError("invalid_option", "answers: expected at least one, got none");
  if (normalisation !== "sum" && normalisation !== "mean") {
    throw unexpected("invalid_option", "normalisation", "sum or mean", `'${normalisation}'`);
  }
  const scored = answers.map((logProbs, index) => {
    const logProb = sumOf(logProbs, index);
    const meanLogProb = logProb / logProbs.length;
    return { index, logProb, meanLogProb, score: normalisation === "mean" ? meanLogProb : logProb };
  });
  const best = scored.reduce((highest, { score }) => Math.max(highest, score), -Infinity);
  const total = scored.reduce((sum, { score }) => sum + Math.exp(score - best), 0);
  return scored
    .map((answer) => ({ ...answer, probability: Math.exp(answer.score - best) / total }))
    .sort((a, b) => b.score - a.score);
}

function sumOf(logProbs: readonly number[], index: number): number {
  if (logProbs.length === 0) {
    throw unexpected("invalid_option", `answers[${index}]`, "at least one token", "none");
  }
  const sum = logProbs.reduce((total, logProb) => total + logProb, 0);
  if (!Number.isFinite(sum)) {
    throw unexpected("internal", `answers[${index}]`, "finite log-probabilities", `a sum of ${sum}`);
  }
  return sum;
}
