import { at } from "../core/at.js";

/**
 * A monotone map from a probability under the model to the share of correct answers among those with this probability:
 * temperature scaling (Guo et al. 2017, arXiv 1706.04599) of the log-odds, or an isotonic step function (Zadrozny and
 * Elkan, 2002).
 */
export type ConfidenceMap =
  | { readonly kind: "temperature"; readonly temperature: number }
  /** `shares[i]` applies to probabilities from `bounds[i]`, which ascend, up to the next bound. */
  | { readonly kind: "isotonic"; readonly bounds: readonly number[]; readonly shares: readonly number[] };

/** What confidences are calibrated for: generated answers, ranked candidates and captions. */
export const confidenceKinds = ["answers", "candidates", "captions"] as const;
export type ConfidenceKind = (typeof confidenceKinds)[number];
export type ConfidenceMaps = Partial<Readonly<Record<ConfidenceKind, ConfidenceMap>>>;

/** Keeps log-odds finite. */
const MARGIN = 1e-6;

/** The confidence, 0 to 1, that belongs to a probability. */
export function confidenceOf(map: ConfidenceMap, probability: number): number {
  if (map.kind === "temperature") return 1 / (1 + Math.exp(-logOdds(probability) / map.temperature));
  let index = map.bounds.findLastIndex((bound) => bound <= probability);
  if (index < 0) index = 0;
  return at(map.shares, index);
}

/** Natural logarithm of p / (1 - p), finite for 0 and 1. */
export function logOdds(probability: number): number {
  const inside = Math.min(1 - MARGIN, Math.max(MARGIN, probability));
  return Math.log(inside / (1 - inside));
}

/** The probability of a generated answer: that of all its tokens, including the end token. */
export function answerProbability(logProbs: readonly number[]): number {
  return Math.exp(logProbs.reduce((sum, value) => sum + value, 0));
}

/** The geometric mean of the probabilities of a caption's tokens. */
export function captionProbability(logProbs: readonly number[]): number {
  return logProbs.length === 0 ? 0 : Math.exp(logProbs.reduce((sum, value) => sum + value, 0) / logProbs.length);
}
