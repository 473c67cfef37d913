import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  type CaptionedImage,
  type CaptionScores,
  captionScores,
} from "../../../src/training/metrics/caption-scores.js";

function scoreAlone(candidate: string, ...references: string[]): CaptionScores {
  return captionScores([{ candidate, references }]).overall;
}

function near(found: number, expected: number): void {
  assert.ok(Math.abs(found - expected) < 1e-8, `${found}, expected ${expected}`);
}

describe("BLEU", () => {
  it("counts a word at most as often as any reference has it", () => {
    const references = ["the cat is on the mat", "there is a cat on the mat"];
    near(scoreAlone("the the the the the the the", ...references).bleu[0], 2 / 7);
  });

  it("uses the reference closest in length, or the shorter of two", () => {
    near(scoreAlone("a b c", "a b", "a b c d").bleu[0], 1);
    near(scoreAlone("a b c", "a b c d").bleu[0], Math.exp(1 - 4 / 3));
  });

  it("is the geometric mean of the precisions", () => {
    // 4 of 5 words, 2 of 4 pairs, 1 of 3 triples.
    const { bleu } = scoreAlone("a b c x d", "a b c d e");
    near(bleu[1], Math.sqrt((4 / 5) * (2 / 4)));
    near(bleu[2], Math.cbrt((4 / 5) * (2 / 4) * (1 / 3)));
  });

  it("sums matches and lengths over images before it divides", () => {
    const { overall, perImage } = captionScores([
      { candidate: "a", references: ["a b c"] },
      { candidate: "a b c d x", references: ["a b c"] },
    ]);
    near(overall.bleu[0], 4 / 6);
    near(perImage[0]?.bleu[0] ?? 0, Math.exp(1 - 3));
    near(perImage[1]?.bleu[0] ?? 0, 3 / 5);
  });
});

describe("ROUGE-L", () => {
  it("weights recall more than precision of the longest common subsequence", () => {
    const [precision, recall] = [2 / 4, 2 / 3];
    near(scoreAlone("a b c d", "a c e").rougeL, (2.44 * precision * recall) / (recall + 1.44 * precision));
  });

  it("combines the best precision and the best recall of different references", () => {
    // Precision of "a b x x x x", recall of "a".
    near(scoreAlone("a b", "a b x x x x", "a").rougeL, 1);
  });
});

describe("CIDEr", () => {
  const other: CaptionedImage = { candidate: "", references: ["cat"] };

  it("is 10 for a candidate equal to its only reference, if there are other images", () => {
    const references = ["one red dog runs"];
    const { perImage } = captionScores([{ candidate: "One red dog runs.", references }, other]);
    near(perImage[0]?.cider ?? 0, 10);
    near(perImage[0]?.ciderD ?? 0, 10);
  });

  it("rises with repeated words, unlike CIDEr-D", () => {
    const { perImage, overall } = captionScores([{ candidate: "dog dog", references: ["dog"] }, other]);
    const ciderD = (10 / 4) * (1 / 2) * Math.exp(-1 / 72);
    near(perImage[0]?.cider ?? 0, 10 / 4);
    near(perImage[0]?.ciderD ?? 0, ciderD);
    near(overall.ciderD, ciderD / 2);
  });

  it("gives no weight to n-grams that all images share, and thus 0 to a single image", () => {
    const { cider, ciderD } = scoreAlone("a red dog runs", "a red dog runs");
    assert.deepEqual([cider, ciderD], [0, 0]);
  });

  it("gives rarer words more weight", () => {
    const { perImage } = captionScores([
      { candidate: "red", references: ["red dog"] },
      { candidate: "cat", references: ["red cat"] },
      { candidate: "", references: ["bus"] },
    ]);
    const [common, rare] = [Math.log(3 / 2), Math.log(3)];
    near(perImage[0]?.cider ?? 0, ((10 / 4) * common) / Math.hypot(common, rare));
    near(perImage[1]?.cider ?? 0, ((10 / 4) * rare) / Math.hypot(common, rare));
  });
});

describe("captionScores", () => {
  const word = fc.constantFrom("a", "red", "dog", "runs", "don't", "Über", "狗", "🐶", ".", "");
  const caption = fc.array(word, { maxLength: 12 }).map((words) => words.join(" "));
  const image = fc.record({
    candidate: caption,
    references: fc.array(caption, { minLength: 1, maxLength: 4 }),
  });

  it("stays in range for any strings", () => {
    const inRange = ({ cider, ciderD, bleu, rougeL }: CaptionScores) =>
      [cider / 10, ciderD / 10, ...bleu, rougeL].every((score) => score >= 0 && score <= 1 + 1e-9);
    fc.assert(
      fc.property(fc.array(image, { minLength: 1, maxLength: 6 }), (images) => {
        const { overall, perImage } = captionScores(images);
        assert.equal(perImage.length, images.length);
        assert.ok([overall, ...perImage].every(inRange));
      }),
    );
  });

  it("returns BLEU and ROUGE-L of 1 for a candidate equal to its only reference", () => {
    const long = fc.array(fc.constantFrom("a", "red", "dog", "狗"), { minLength: 4, maxLength: 12 });
    fc.assert(
      fc.property(long, (words) => {
        const { bleu, rougeL } = scoreAlone(words.join(" "), words.join(" "));
        for (const score of [...bleu, rougeL]) near(score, 1);
      }),
    );
  });

  it("returns 0 for a candidate without a word", () => {
    for (const reference of ["a dog", ""]) {
      assert.deepEqual(scoreAlone("...", reference), { cider: 0, ciderD: 0, bleu: [0, 0, 0, 0], rougeL: 0 });
    }
  });

  it("rejects an empty list, and an image without references", () => {
    assert.throws(() => captionScores([]), { code: "invalid_option" });
    const images = [
      { candidate: "a", references: ["a"] },
      { candidate: "b", references: [] },
    ];
    assert.throws(() => captionScores(images), { code: "invalid_option", message: /images\[1\]/ });
  });
});
