import { EpalmError } from "../../core/errors.js";
import { mean } from "./mean.js";
import { normalizeAnswer } from "./normalize-answer.js";

/** How many people must have given an answer for it to be wholly right (Antol et al. 2015, arXiv 1505.00468). */
const AGREEMENT = 3;

/**
 * VQA accuracy, from 0 to 1: each of the people's answers (ten in VQA v2) is left out in turn, an answer is as right
 * as it is frequent among the others, min(1, matches / 3), and the mean is taken. All answers are normalised first.
 *
 * With fewer than four references, all that are left must agree instead of three; a single one is compared itself.
 */
export function vqaAccuracy(answer: string, references: readonly string[]): number {
  if (references.length === 0) {
    throw new EpalmError("invalid_option", "VQA accuracy: expected at least one reference answer, got none");
  }
  const given = normalizeAnswer(answer);
  const matches = references.map((reference): number => (normalizeAnswer(reference) === given ? 1 : 0));
  if (matches.length === 1) return mean(matches);
  const needed = Math.min(AGREEMENT, matches.length - 1);
  const total = matches.reduce((sum, match) => sum + match, 0);
  return mean(matches.map((leftOut) => Math.min(1, (total - leftOut) / needed)));
}
