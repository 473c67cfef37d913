import { EpalmError, unexpected } from "../core/errors.js";

export interface RankingOptions {
  /**
   * The score of an answer: the `"sum"` of its tokens' log-probabilities, which is the log-probability of the answer
   * and favours short ones, or their `"mean"`, which is independent of the length. Default: `"sum"`.
   */
  readonly normalisation?: "sum" | "mean";
}

export interface RankedAnswer {
  /** Index of the answer in the input. */
  readonly index: number;
  /** Natural log-probability of the whole answer. */
  readonly logProb: number;
  /** `logProb` divided by the number of tokens, including the end token. */
  readonly meanLogProb: number;
  /** The value by which answers are ordered: `logProb` or `meanLogProb`, depending on the normalisation. */
  readonly score: number;
  /** Softmax of the scores over all answers. */
  readonly probability: number;
}

/**
 * Ranks candidate answers, best first; equal scores keep the order of the input.
 *
 * @param answers for each answer, the natural log-probability of each of its tokens
 * @throws invalid_option if there is no answer, an answer has no token, or the normalisation is unknown
 * @throws internal if a log-probability is not finite
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
