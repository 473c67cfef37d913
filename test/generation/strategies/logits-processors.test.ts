import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  applyLogitsProcessors,
  drawRank,
  type LogitsProcessors,
} from "../../../src/generation/strategies/logits-processors.js";
import { readFixture, rowOutput } from "../../support/table-model.js";

/** Written by make-warping-fixture.py. */
interface Case extends LogitsProcessors {
  readonly logits: readonly number[];
  readonly kept: number;
  readonly probabilities: readonly number[];
}

describe("applyLogitsProcessors", () => {
  it("changes distributions as transformers does", () => {
    for (const { logits, kept, probabilities, ...logitsProcessors } of readFixture<Case[]>("warping.json")) {
      const next = rowOutput(logits);
      const warped = applyLogitsProcessors(next, logitsProcessors);
      assert.equal(warped.length, kept, JSON.stringify(logitsProcessors));
      for (const [rank, token] of Array.from(next.tokens).entries()) {
        const difference = Math.abs((warped[rank] ?? 0) - (probabilities[token] ?? Number.NaN));
        assert.ok(difference < 1e-6, `${JSON.stringify(logitsProcessors)}: token ${token} differs by ${difference}`);
      }
    }
  });

  it("keeps exactly top-k tokens if probabilities are equal, those with lower ids", () => {
    const next = rowOutput([1, 2, 2, 2]);
    assert.deepEqual([...applyLogitsProcessors(next, { temperature: 1, topK: 2 })], [0.5, 0.5]);
    assert.deepEqual(Array.from(next.tokens).slice(0, 2), [1, 2]);
  });

  it("keeps one token even if top-p is tiny", () => {
    assert.deepEqual([...applyLogitsProcessors(rowOutput([0, 0, 0]), { temperature: 1, topP: Number.MIN_VALUE })], [1]);
  });

  it("stays finite at the lowest temperatures", () => {
    assert.deepEqual([...applyLogitsProcessors(rowOutput([1, 3, 2]), { temperature: Number.MIN_VALUE })], [1, 0, 0]);
  });

  it("rejects a distribution of NaN", () => {
    const next = { tokens: [0, 1], logProbs: [Number.NaN, Number.NaN] };
    assert.throws(() => applyLogitsProcessors(next, { temperature: 1 }), {
      code: "internal",
      message: /finite/,
    });
  });

  it("draws the rank that corresponds to a number, but never one with probability 0", () => {
    const probabilities = Float64Array.of(0.5, 0.25, 0, 0.25);
    const drawn = [0, 0.49, 0.5, 0.74, 0.75, 1 - 2 ** -53].map((uniform) => drawRank(probabilities, uniform));
    assert.deepEqual(drawn, [0, 0, 1, 1, 3, 3]);
  });
});
