import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { parseGenerationOptions } from "../../../src/generation/options.js";
import { createStrategy } from "../../../src/generation/strategies/create-strategy.js";
import { run, waveModel } from "../../support/table-model.js";

const vocabulary = 40;
const decode = (tokens: readonly number[]) => String.fromCodePoint(...tokens.map((token) => 97 + token));

const limits = fc.record({
  maxNewTokens: fc.integer({ min: 3, max: 24 }),
  minNewTokens: fc.integer({ min: 0, max: 3 }),
  stop: fc.array(fc.constantFrom("a", "bc", "h", "zz"), { maxLength: 2 }),
});
const greedy = fc.constant({});
const sampling = fc.record(
  {
    temperature: fc.double({ min: 0.01, max: 2, noNaN: true }),
    topK: fc.integer({ min: 1, max: 50 }),
    topP: fc.double({ min: 0.01, max: 1, noNaN: true }),
    seed: fc.maxSafeNat(),
    numReturnSequences: fc.integer({ min: 1, max: 5 }),
  },
  { requiredKeys: ["temperature"] },
);
const beams = fc.record({
  beams: fc.integer({ min: 2, max: 6 }),
  numReturnSequences: fc.integer({ min: 1, max: 2 }),
  lengthPenalty: fc.double({ min: -2, max: 2, noNaN: true }),
  earlyStopping: fc.constantFrom<(boolean | "never")[]>(true, false, "never"),
});

describe("every strategy", () => {
  it("ends within maxNewTokens, extends existing sequences, and returns ordered answers within the limits", () => {
    const options = fc
      .tuple(limits, fc.oneof(greedy, sampling, beams))
      .map(([limit, search]) => ({ ...limit, ...search }));
    const eosTokenIds = fc.uniqueArray(fc.nat(vocabulary - 1), { maxLength: 4 });
    fc.assert(
      fc.property(options, eosTokenIds, fc.nat(1000), (given, ends, modelSeed) => {
        const strategy = createStrategy(parseGenerationOptions(given), {
          eosTokenIds: new Set(ends),
          decode,
        });
        const { hypotheses, counts } = run(strategy, waveModel(vocabulary, modelSeed), [0]);
        assert.ok(counts.length <= given.maxNewTokens);
        assert.ok(counts.every((count) => count <= strategy.maxSequences));
        assert.equal(hypotheses.length, "numReturnSequences" in given ? (given.numReturnSequences ?? 1) : 1);
        for (const [rank, { tokens, logProbs, finish, score }] of hypotheses.entries()) {
          assert.ok(rank === 0 || score <= (hypotheses[rank - 1]?.score ?? Number.NaN));
          assert.ok(logProbs.length <= given.maxNewTokens);
          assert.ok(tokens.every((token) => !ends.includes(token)));
          assert.ok(finish !== "end" || tokens.length >= given.minNewTokens);
          assert.equal(
            finish === "stop",
            given.stop.some((string) => decode(tokens).includes(string)) && finish !== "end",
          );
          assert.ok(finish !== "length" || tokens.length === given.maxNewTokens);
        }
      }),
    );
  });

  it("is deterministic for the same options and outputs", () => {
    const plan = parseGenerationOptions({ temperature: 1, numReturnSequences: 3, seed: 8 });
    const answer = () =>
      run(createStrategy(plan, { eosTokenIds: new Set([1]), decode }), waveModel(vocabulary, 4), [0]);
    assert.deepEqual(answer(), answer());
  });
});
