import type { TokenizedCaption } from "./tokenized-caption.js";

/**
 * ROUGE-L (Lin 2004) as in the COCO caption evaluation: `rouge/rouge.py` of
 * https://github.com/tylin/coco-caption.
 */

/** Weight of recall relative to precision. */
const BETA = 1.2;

/**
 * F-measure of the longest common subsequence, from 0 to 1. Precision and recall are each the maximum over the
 * references. An empty candidate scores 0, and an empty reference matches nothing.
 */
export function rougeL({ candidate, references }: TokenizedCaption): number {
  let [precision, recall] = [0, 0];
  for (const reference of references) {
    const common = commonSubsequenceLength(candidate, reference);
    if (common === 0) continue;
    precision = Math.max(precision, common / candidate.length);
    recall = Math.max(recall, common / reference.length);
  }
  if (precision === 0) return 0;
  return ((1 + BETA ** 2) * precision * recall) / (recall + BETA ** 2 * precision);
}

function commonSubsequenceLength(a: readonly string[], b: readonly string[]): number {
  // lengths[j]: length for the tokens of a so far and the first j tokens of b.
  let lengths: readonly number[] = new Array<number>(b.length + 1).fill(0);
  for (const token of a) {
    const next = [0];
    for (const [j, other] of b.entries()) {
      const [diagonal = 0, above = 0, left = 0] = [lengths[j], lengths[j + 1], next[j]];
      next.push(token === other ? diagonal + 1 : Math.max(above, left));
    }
    lengths = next;
  }
  return lengths[b.length] ?? 0;
}
