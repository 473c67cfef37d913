import { at } from "../../core/at.js";
import { mean } from "./mean.js";
import { countNgrams, ORDERS } from "./ngrams.js";
import type { TokenizedCaption } from "./tokenized-caption.js";

/**
 * CIDEr and CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726), as `cider/` and `ciderD/` of
 * https://github.com/vrama91/cider compute them. What the COCO caption evaluation calls CIDEr is CIDEr-D.
 *
 * Cosine similarity of tf-idf weighted n-grams, averaged over the references and over n = 1 … 4, times 10. The idf is
 * computed from the references of all images that are scored together, so that the score of an image depends on the
 * others. An n-gram that all images share has weight 0; an image that is scored alone therefore always scores 0.
 */
export interface Cider {
  /** From 0 to 10. */
  readonly cider: number;
  /** CIDEr with clipped counts and a length penalty, so that repeating words does not raise the score. */
  readonly ciderD: number;
}

/** Factor by which the published scores are multiplied. */
const SCALE = 10;
/** Width of CIDEr-D's Gaussian length penalty, in tokens. */
const SIGMA = 6;

/** A caption as the tf-idf weights of its n-grams of one order. */
interface NgramVector {
  readonly weights: ReadonlyMap<string, number>;
  readonly norm: number;
  /** Length of the caption in tokens. */
  readonly length: number;
}

/** The scores of each image; the score of the whole set is their mean. An empty candidate scores 0. */
export function cider(images: readonly TokenizedCaption[]): Cider[] {
  const sums = images.map(() => ({ cider: 0, ciderD: 0 }));
  for (const order of ORDERS) {
    const vectorOf = weighting(images, order);
    for (const [index, sum] of sums.entries()) {
      const { candidate, references } = at(images, index);
      const vector = vectorOf(candidate);
      const found = references.map((reference) => similarity(vector, vectorOf(reference)));
      sum.cider += mean(found.map((each) => each.cider));
      sum.ciderD += mean(found.map((each) => each.ciderD));
    }
  }
  const factor = SCALE / ORDERS.length;
  return sums.map((sum) => ({ cider: sum.cider * factor, ciderD: sum.ciderD * factor }));
}

/** Computes vectors of the weights count × log(images / images whose references contain the n-gram). */
function weighting(images: readonly TokenizedCaption[], order: number) {
  const frequencies = new Map<string, number>();
  for (const { references } of images) {
    const ngrams = new Set(references.flatMap((reference) => [...countNgrams(reference, order).keys()]));
    for (const ngram of ngrams) frequencies.set(ngram, (frequencies.get(ngram) ?? 0) + 1);
  }
  return (tokens: readonly string[]): NgramVector => {
    const weights = new Map<string, number>();
    let squares = 0;
    for (const [ngram, count] of countNgrams(tokens, order)) {
      // An n-gram that occurs in no reference has the weight of one that occurs for a single image.
      const weight = count * (Math.log(images.length) - Math.log(frequencies.get(ngram) ?? 1));
      weights.set(ngram, weight);
      squares += weight ** 2;
    }
    return { weights, norm: Math.sqrt(squares), length: tokens.length };
  };
}

function similarity(candidate: NgramVector, reference: NgramVector): Cider {
  const norms = candidate.norm * reference.norm;
  if (norms === 0) return { cider: 0, ciderD: 0 };
  let [product, clipped] = [0, 0];
  for (const [ngram, weight] of candidate.weights) {
    const expected = reference.weights.get(ngram) ?? 0;
    product += weight * expected;
    clipped += Math.min(weight, expected) * expected;
  }
  const lengthPenalty = Math.exp(-((candidate.length - reference.length) ** 2) / (2 * SIGMA ** 2));
  return { cider: product / norms, ciderD: (clipped / norms) * lengthPenalty };
}
