import { at } from "../../core/at.js";
import { EpalmError } from "../../core/errors.js";
import { type Bleu, bleu } from "./bleu.js";
import { type Cider, cider } from "./cider.js";
import { mean } from "./mean.js";
import { rougeL } from "./rouge-l.js";
import { tokenizeCaption } from "./tokenize-caption.js";
import type { TokenizedCaption } from "./tokenized-caption.js";

/** A caption to be judged, and what people wrote of the same picture. */
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
  /** CIDEr and ROUGE-L are means over the pictures; BLEU is that of all pictures as one text. */
  readonly overall: CaptionScores;
  readonly perImage: readonly CaptionScores[];
}

/**
 * CIDEr, CIDEr-D, BLEU and ROUGE-L as the COCO caption evaluation computes them. Every score is a number whatever the
 * texts: a candidate without a word scores 0 in all; pictures need at least one reference each.
 */
export function captionScores(images: readonly CaptionedImage[]): ScoredCaptions {
  return tokenScores(
    images.map(({ candidate, references }) => ({
      candidate: tokenizeCaption(candidate),
      references: references.map(tokenizeCaption),
    })),
  );
}

/** The same of captions that are tokens already. */
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
    throw new EpalmError("invalid_option", "caption scores: expected at least one picture, got none");
  }
  const bare = images.findIndex(({ references }) => references.length === 0);
  if (bare >= 0) {
    throw new EpalmError("invalid_option", `pictures[${bare}].references: expected at least one, got none`);
  }
}
