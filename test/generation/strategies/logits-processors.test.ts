import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  applyLogitsProcessors,
  drawRank,
  type LogitsProcessors,
} from "../../../src/generation/strategies/logits-processors.js";
import { readFixture, rowOutput } from "../../support/table-model.js";

/** See make-warping-fixture.py. */
interface Case extends LogitsProcessors {
  readonly logits: readonly number[];
  readonly kept: number;
  readonly probabilities: readonly number[];
}

describe("warping", () => {
  it("bends distributions as transformers does", () => {
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

  it("keeps as many tokens as top-k says where probabilities are equal, those of lower id", () => {
    const next = rowOutput([1, 2, 2, 2]);
    assert.deepEqual([...applyLogitsProcessors(next, { temperature: 1, topK: 2 })], [0.5, 0.5]);
    assert.deepEqual(Array.from(next.tokens).slice(0, 2), [1, 2]);
  });

  it("keeps one token however small top-p is", () => {
    assert.deepEqual([...applyLogitsProcessors(rowOutput([0, 0, 0]), { temperature: 1, topP: Number.MIN_VALUE })], [1]);
  });

  it("stays finite at the coldest temperatures", () => {
    assert.deepEqual([...applyLogitsProcessors(rowOutput([1, 3, 2]), { temperature: Number.MIN_VALUE })], [1, 0, 0]);
  });

  it("refuses a distribution that is none", () => {
    const next = { tokens: [0, 1], logProbs: [Number.NaN, Number.NaN] };
    assert.throws(() => applyLogitsProcessors(next, { temperature: 1 }), {
      code: "internal",
      message: /finite/,
    });
  });

  it("draws the rank in which a number falls, never one without probability", () => {
    const probabilities = Float64Array.of(0.5, 0.25, 0, 0.25);
    const drawn = [0, 0.49, 0.5, 0.74, 0.75, 1 - 2 ** -53].map((uniform) => drawRank(probabilities, uniform));
    assert.deepEqual(drawn, [0, 0, 1, 1, 3, 3]);
  });
});
