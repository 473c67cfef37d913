import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { confidenceOf } from "../../../src/adapter/confidence.js";
import { randomStreams } from "../../../src/core/random.js";
import { calibrationError, fitConfidence, type Judged } from "../../../src/training/calibration/fit-confidence.js";

/** Examples whose probability of being correct is a function of the model's probability. */
function judged(count: number, seed: number, correct: (probability: number) => number): Judged[] {
  const [random = Math.random] = randomStreams(seed, 1);
  return Array.from({ length: count }, () => {
    const probability = random();
    return { probability, score: random() < correct(probability) ? 1 : 0 };
  });
}

function hotter(probability: number): number {
  return 1 / (1 + Math.exp(-Math.log(probability / (1 - probability)) / 3));
}

const shapes = {
  "whose log-odds are three times too large": { kind: "temperature", correct: hotter },
  "that is correct half of the time whatever it says": { kind: "temperature", correct: () => 0.5 },
  "that is far too unsure": { kind: "isotonic", correct: (p: number) => Math.min(1, 0.5 + 2 * p) },
} as const;

describe("the confidence of a model", () => {
  for (const [name, { kind, correct }] of Object.entries(shapes)) {
    it(`is calibrated for one ${name}`, () => {
      const fitted = fitConfidence(judged(2000, 1, correct));
      assert.ok(fitted);
      assert.equal(fitted.map.kind, kind);
      const fresh = judged(4000, 2, correct);
      const before = calibrationError(fresh);
      const after = calibrationError(
        fresh.map(({ probability, score }) => ({ probability: confidenceOf(fitted.map, probability), score })),
      );
      assert.ok(before > 0.1, `before: ${before}`);
      assert.ok(after < 0.03, `after: ${after}`);
    });
  }

  it("leaves out the least sure answers first", () => {
    const fitted = fitConfidence(judged(2000, 3, hotter));
    const [all, , most] = fitted?.report.coverage ?? [];
    assert.deepEqual([all?.coverage, most?.coverage], [1, 0.8]);
    assert.ok((most?.accuracy ?? 0) > (all?.accuracy ?? 1));
  });

  it("is not calibrated on fewer than 100 examples", () => {
    assert.equal(fitConfidence(judged(99, 1, hotter)), undefined);
  });
});
