import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { LogitsProcessors } from "../../../src/generation/strategies/logits-processors.js";
import { greedy, sampling } from "../../../src/generation/strategies/sampling.js";
import type { StopRules } from "../../../src/generation/strategies/stop-rules.js";
import { rowOutput, run, waveModel } from "../../support/table-model.js";

const model = waveModel(16, 1);
const rules: StopRules = {
  eosTokenIds: new Set([3]),
  minNewTokens: 0,
  maxNewTokens: 20,
  stop: [],
  decode: (tokens) => String.fromCodePoint(...tokens.map((token) => 97 + token)),
};

/** The tokens of all sequences. */
function drawn(seed: number, numReturnSequences: number, logitsProcessors: LogitsProcessors = { temperature: 1 }) {
  return run(sampling({ numReturnSequences, seed, logitsProcessors }, rules), model).hypotheses.map(
    ({ tokens }) => tokens,
  );
}

describe("sampling", () => {
  it("draws tokens in proportion to their probability", () => {
    const logits = [1, 0.5, 0, -0.5, -1, -3];
    const output = rowOutput(logits);
    const draws = 20_000;
    const settings = { numReturnSequences: 1, seed: 42, logitsProcessors: { temperature: 1 } };
    const strategy = sampling(settings, { ...rules, eosTokenIds: new Set(), maxNewTokens: draws + 1 });
    const counts = new Map<number, number>();
    for (let draw = 0; draw < draws; draw++) {
      for (const { token } of strategy.advance([output])) counts.set(token, (counts.get(token) ?? 0) + 1);
    }
    const chiSquare = Array.from(output.tokens).reduce((sum, token, rank) => {
      const expected = draws * Math.exp(output.logProbs[rank] ?? Number.NaN);
      return sum + ((counts.get(token) ?? 0) - expected) ** 2 / expected;
    }, 0);
    assert.ok(chiSquare < 20.5, `chi-square ${chiSquare}, 5 degrees of freedom: 0.1 % are above 20.5`);
  });

  it("draws the same tokens with the same seed, and others with another seed", () => {
    assert.deepEqual(drawn(5, 3), drawn(5, 3));
    assert.notDeepEqual(drawn(5, 3), drawn(6, 3));
  });

  it("draws every sequence from a separate random stream", () => {
    assert.equal(new Set(drawn(9, 8).map(String)).size, 8);
  });

  it("draws no token beyond top-k", () => {
    const { hypotheses } = run(
      sampling({ numReturnSequences: 4, seed: 1, logitsProcessors: { temperature: 2, topK: 1 } }, rules),
      model,
    );
    const [best] = run(greedy(rules), model).hypotheses;
    for (const hypothesis of hypotheses) assert.deepEqual(hypothesis, best);
  });

  it("requests top-k tokens from the decoder plus the end tokens that may be removed", () => {
    const logitsProcessors = { temperature: 1, topK: 5 };
    const settings = { numReturnSequences: 1, seed: 0, logitsProcessors };
    assert.deepEqual(sampling(settings, rules).needs, { kind: "next", count: 5 });
    assert.deepEqual(sampling(settings, { ...rules, minNewTokens: 2 }).needs, { kind: "next", count: 6 });
    assert.deepEqual(sampling({ ...settings, logitsProcessors: { temperature: 1 } }, rules).needs, { kind: "logits" });
  });

  it("orders sequences by their mean log-probability under the model, regardless of the temperature", () => {
    const logitsProcessors = { temperature: 1.8 };
    const { hypotheses } = run(sampling({ numReturnSequences: 6, seed: 2, logitsProcessors }, rules), model);
    for (const { tokens, logProbs, score, finish } of hypotheses) {
      assert.equal(logProbs.length, tokens.length + (finish === "end" ? 1 : 0));
      assert.equal(score, logProbs.reduce((sum, logProb) => sum + logProb, 0) / logProbs.length);
    }
    const scores = hypotheses.map(({ score }) => score);
    assert.deepEqual(
      scores,
      scores.toSorted((a, b) => b - a),
    );
  });
});

describe("greedy", () => {
  it("chooses the best token until an end token, which it omits", () => {
    const logitsAfter = (tokens: readonly number[]) => [0, 1, 2, tokens.length === 2 ? 3 : 0];
    const { hypotheses } = run(greedy(rules), { vocabulary: 4, logitsAfter });
    assert.deepEqual(
      hypotheses.map(({ tokens, finish }) => ({ tokens, finish })),
      [{ tokens: [2, 2], finish: "end" }],
    );
    assert.equal(hypotheses[0]?.logProbs.length, 3);
  });

  it("settles each token as it is chosen", () => {
    const { settled, hypotheses } = run(greedy({ ...rules, eosTokenIds: new Set(), maxNewTokens: 4 }), model);
    const tokens = hypotheses[0]?.tokens ?? [];
    assert.deepEqual(
      settled,
      [1, 2, 3, 4].map((length) => tokens.slice(0, length)),
    );
  });

  it("chooses no end token before minNewTokens other tokens", () => {
    const logitsAfter = () => [0, 1, 2, 9];
    const strategy = greedy({ ...rules, minNewTokens: 3 });
    assert.deepEqual(run(strategy, { vocabulary: 4, logitsAfter }).hypotheses[0]?.tokens, [2, 2, 2]);
  });
});
