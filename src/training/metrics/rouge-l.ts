import type { TokenizedCaption } from "./tokenized-caption.js";

/**
 * ROUGE-L (Lin 2004) in the form of the COCO caption evaluation: `rouge/rouge.py` of
 * https://github.com/tylin/coco-caption.
 */

/** Weight of recall against precision. */
const BETA = 1.2;

/**
 * F-measure of the longest common subsequence, from 0 to 1; precision and recall are each the best over the
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
  // lengths[j]: of a's tokens so far and b's first j.
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
