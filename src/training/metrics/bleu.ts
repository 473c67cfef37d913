import { countNgrams, ORDERS } from "./ngrams.js";
import type { TokenizedCaption } from "./tokenized-caption.js";

/**
 * BLEU (Papineni et al. 2002) as in the COCO caption evaluation: `bleu/bleu_scorer.py` of
 * https://github.com/salaniz/pycocoevalcap, with its option "closest".
 */

/** BLEU-1 to BLEU-4, each from 0 to 1. */
export type Bleu = readonly [number, number, number, number];

/**
 * The published constants that prevent division by zero. With them, a perfect score is about 1e-9 below 1, and a
 * caption that is too short for n-grams of some order has a precision of TINY / SMALL at that order.
 */
const TINY = 1e-15;
const SMALL = 1e-9;

/**
 * BLEU of all images together: matches and lengths are summed before dividing. The score of one image is that of a list
 * with one element. An empty candidate scores 0.
 */
export function bleu(images: readonly TokenizedCaption[]): Bleu {
  const precisions = ORDERS.map((order) => precision(images, order));
  const penalty = brevityPenalty(images);
  const upTo = (order: number) =>
    precisions.slice(0, order).reduce((product, factor) => product * factor, 1) ** (1 / order) * penalty;
  return [upTo(1), upTo(2), upTo(3), upTo(4)];
}

/** The fraction of the candidates' n-grams that also occur in the references. */
function precision(images: readonly TokenizedCaption[], order: number): number {
  let [correct, total] = [0, 0];
  for (const { candidate, references } of images) {
    const allowed = references.map((reference) => countNgrams(reference, order));
    for (const [ngram, count] of countNgrams(candidate, order)) {
      // Each n-gram counts at most as often as in the reference in which it is most frequent.
      correct += Math.min(count, Math.max(...allowed.map((counts) => counts.get(ngram) ?? 0)));
      total += count;
    }
  }
  return (correct + TINY) / (total + SMALL);
}

function brevityPenalty(images: readonly TokenizedCaption[]): number {
  let [found, expected] = [0, 0];
  for (const { candidate, references } of images) {
    found += candidate.length;
    expected += closestLength(candidate.length, references);
  }
  const ratio = (found + TINY) / (expected + SMALL);
  return ratio < 1 ? Math.exp(1 - 1 / ratio) : 1;
}

/** The length of the reference whose length is closest; the shorter one if two are equally close. */
function closestLength(length: number, references: TokenizedCaption["references"]): number {
  return references
    .map((reference) => reference.length)
    .reduce((best, other) => {
      const gain = Math.abs(best - length) - Math.abs(other - length);
      return gain > 0 || (gain === 0 && other < best) ? other : best;
    });
}
