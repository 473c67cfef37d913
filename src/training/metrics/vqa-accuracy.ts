import { EpalmError } from "../../core/errors.js";
import { mean } from "./mean.js";
import { normalizeAnswer } from "./normalize-answer.js";

/** Number of people who must have given an answer for a score of 1 (Antol et al. 2015, arXiv 1505.00468). */
const AGREEMENT = 3;

/**
 * VQA accuracy, from 0 to 1. Each of the human answers (ten in VQA v2) is left out in turn, the answer scores
 * min(1, matches / 3) against the others, and the scores are averaged. All answers are normalised first. A blank
 * reference, of which VQA v2 has some, matches nothing.
 *
 * With fewer than four references, all remaining ones must agree instead of three; a single reference is not left out.
 *
 * @throws invalid_option without references
 */
export function vqaAccuracy(answer: string, references: readonly string[]): number {
  if (references.length === 0) {
    throw new EpalmError("invalid_option", "VQA accuracy: expected at least one reference answer, got none");
  }
  const given = normalizeAnswer(answer);
  const matches = references.map((reference): number => (isMatch(reference, given) ? 1 : 0));
  if (matches.length === 1) return mean(matches);
  const needed = Math.min(AGREEMENT, matches.length - 1);
  const total = matches.reduce((sum, match) => sum + match, 0);
  return mean(matches.map((leftOut) => Math.min(1, (total - leftOut) / needed)));
}

/** @param given a normalised answer */
function isMatch(reference: string, given: string): boolean {
  return reference.trim() !== "" && normalizeAnswer(reference) === given;
}

/**
 * Exact match, 0 or 1: whether an answer equals one of the references, the metric of GQA and of the questions about
 * MSR-VTT and MSVD. As in the published code of eP-ALM, all answers are normalised first.
 *
 * @throws invalid_option without references
 */
export function exactMatch(answer: string, references: readonly string[]): number {
  if (references.length === 0) {
    throw new EpalmError("invalid_option", "exact match: expected at least one reference answer, got none");
  }
  const given = normalizeAnswer(answer);
  return references.some((reference) => isMatch(reference, given)) ? 1 : 0;
}
