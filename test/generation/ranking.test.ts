import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { rankAnswers } from "../../src/generation/ranking.js";

const answers = [[-1, -1, -1], [-2], [-1.5, -1.5]];

describe("rankAnswers", () => {
  it("ranks by the sum of log-probabilities by default", () => {
    assert.deepEqual(
      rankAnswers(answers).map(({ index, score, logProb }) => [index, score, logProb]),
      [
        [1, -2, -2],
        [0, -3, -3],
        [2, -3, -3],
      ],
    );
  });

  it("ranks by the mean of log-probabilities", () => {
    assert.deepEqual(
      rankAnswers(answers, { normalisation: "mean" }).map(({ index, score, logProb }) => [index, score, logProb]),
      [
        [0, -1, -3],
        [2, -1.5, -3],
        [1, -2, -2],
      ],
    );
  });

  it("normalises scores to probabilities that sum to 1, even if they are tiny", () => {
    const logProbs = fc.array(fc.double({ min: -1e4, max: 0, noNaN: true }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(fc.array(logProbs, { minLength: 1, maxLength: 10 }), (given) => {
        const ranked = rankAnswers(given, { normalisation: "mean" });
        const total = ranked.reduce((sum, { probability }) => sum + probability, 0);
        assert.ok(Math.abs(total - 1) < 1e-9);
        assert.deepEqual(
          ranked.map(({ score }) => score),
          ranked.map(({ score }) => score).toSorted((a, b) => b - a),
        );
        assert.deepEqual(
          ranked.map(({ index }) => index).toSorted((a, b) => a - b),
          given.map((_, index) => index),
        );
      }),
    );
  });

  it("rejects an empty list, an empty answer and NaN", () => {
    assert.throws(() => rankAnswers([]), { code: "invalid_option" });
    assert.throws(() => rankAnswers([[-1], []]), { code: "invalid_option", message: /answers\[1\]/ });
    assert.throws(() => rankAnswers([[Number.NaN]]), { code: "internal", message: /answers\[0\]/ });
  });
});
