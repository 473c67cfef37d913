import { at } from "../../core/at.js";
import { EpalmError } from "../../core/errors.js";
import { type Bleu, bleu } from "./bleu.js";
import { type Cider, cider } from "./cider.js";
import { mean } from "./mean.js";
import { rougeL } from "./rouge-l.js";
import { tokenizeCaption } from "./tokenize-caption.js";
import type { TokenizedCaption } from "./tokenized-caption.js";

/** A caption to score, and human captions of the same image. */
export interface CaptionedImage {
  readonly candidate: string;
  /** At least one. */
  readonly references: readonly string[];
}

export interface CaptionScores extends Cider {
  /** BLEU-1 to BLEU-4. */
  readonly bleu: Bleu;
  readonly rougeL: number;
}

export interface ScoredCaptions {
  /** CIDEr and ROUGE-L are means over the images; BLEU is computed over all images together. */
  readonly overall: CaptionScores;
  readonly perImage: readonly CaptionScores[];
}

/**
 * CIDEr, CIDEr-D, BLEU and ROUGE-L as the COCO caption evaluation computes them. All scores are finite for any strings;
 * a candidate without a word has all scores 0.
 *
 * @throws invalid_option without images, or if an image has no reference
 */
export function captionScores(images: readonly CaptionedImage[]): ScoredCaptions {
  return tokenScores(
    images.map(({ candidate, references }) => ({
      candidate: tokenizeCaption(candidate),
      references: references.map(tokenizeCaption),
    })),
  );
}

/** The same scores for captions that are already tokenised. */
export function tokenScores(images: readonly TokenizedCaption[]): ScoredCaptions {
  refuseMissing(images);
  const consensus = cider(images);
  const perImage = images.map((image, index) => ({
    ...at(consensus, index),
    bleu: bleu([image]),
    rougeL: rougeL(image),
  }));
  const meanOf = (name: "cider" | "ciderD" | "rougeL") => mean(perImage.map((scores) => scores[name]));
  return {
    overall: {
      cider: meanOf("cider"),
      ciderD: meanOf("ciderD"),
      bleu: bleu(images),
      rougeL: meanOf("rougeL"),
    },
    perImage,
  };
}

function refuseMissing(images: readonly TokenizedCaption[]): void {
  if (images.length === 0) {
    throw new EpalmError("invalid_option", "caption scores: expected at least one image, got none");
  }
  const bare = images.findIndex(({ references }) => references.length === 0);
  if (bare >= 0) {
    throw new EpalmError("invalid_option", `images[${bare}].references: expected at least one, got none`);
  }
}
