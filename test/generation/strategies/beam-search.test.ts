import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseGenerationOptions } from "../../../src/generation/options.js";
import type { EarlyStopping } from "../../../src/generation/strategies/beam-search.js";
import { beamSearch } from "../../../src/generation/strategies/beam-search.js";
import { createStrategy } from "../../../src/generation/strategies/create-strategy.js";
import type { FinishReason } from "../../../src/generation/strategies/strategy.js";
import { readFixture, rowOutput, run, type TableModel } from "../../support/table-model.js";

/** Written by make-beam-fixture.py. */
interface Fixture {
  readonly letters: string;
  readonly logits: readonly (readonly number[])[];
  readonly cases: readonly Case[];
}

type Case = readonly [
  prompt: string,
  beams: number,
  lengthPenalty: number,
  earlyStopping: EarlyStopping,
  numReturnSequences: number,
  minNewTokens: number,
  maxNewTokens: number,
  eosTokenIds: readonly number[],
  stop: readonly string[],
  answers: readonly (readonly [text: string, finish: FinishReason, score: number | null])[],
];

const { letters, logits, cases } = readFixture<Fixture>("beam-search.json");

const model: TableModel = {
  vocabulary: letters.length,
  logitsAfter: (tokens) => {
    const next = logits[(tokens.at(-2) ?? 0) * letters.length + (tokens.at(-1) ?? 0)] ?? [];
    return next.map((logit) => logit / 64);
  },
};
const encode = (text: string) => Array.from(text, (letter) => letters.indexOf(letter));
const decode = (tokens: readonly number[]) => tokens.map((token) => letters[token]).join("");

describe("beam search", () => {
  it("gives the same answers as transformers", () => {
    for (const [index, testCase] of cases.entries()) compare(testCase, `case ${index}: ${testCase}`);
  });

  it("never exceeds maxSequences", () => {
    const strategy = createStrategy(parseGenerationOptions({ beams: 4, maxNewTokens: 10 }), {
      eosTokenIds: new Set([3]),
      decode,
    });
    const { counts } = run(strategy, model, [1]);
    assert.ok(counts.every((count) => count <= strategy.maxSequences));
    assert.equal(counts[0], 4);
  });

  it("settles no token before the end", () => {
    const rules = { eosTokenIds: new Set<number>(), minNewTokens: 0, maxNewTokens: 4, stop: [], decode };
    const strategy = beamSearch({ beams: 2, numReturnSequences: 1, lengthPenalty: 1, earlyStopping: false }, rules);
    assert.ok(run(strategy, model, [1]).settled.every((tokens) => tokens === undefined));
  });

  it("rejects a wrong number of outputs", () => {
    const rules = { eosTokenIds: new Set<number>(), minNewTokens: 0, maxNewTokens: 4, stop: [], decode };
    const strategy = beamSearch({ beams: 2, numReturnSequences: 1, lengthPenalty: 1, earlyStopping: false }, rules);
    const output = rowOutput(model.logitsAfter([1]));
    strategy.advance([output]);
    assert.throws(() => strategy.advance([output]), {
      code: "internal",
      message: /outputs of 2 sequences, got 1/,
    });
  });
});

function compare(testCase: Case, name: string): void {
  const [prompt, beams, lengthPenalty, earlyStopping, numReturnSequences, ...limits] = testCase;
  const [minNewTokens, maxNewTokens, eosTokenIds, stop, answers] = limits;
  const search = beams > 1 ? { beams, lengthPenalty, earlyStopping, numReturnSequences } : {};
  const plan = parseGenerationOptions({ ...search, minNewTokens, maxNewTokens, stop });
  const strategy = createStrategy(plan, { eosTokenIds: new Set(eosTokenIds), decode });
  const { hypotheses } = run(strategy, model, encode(prompt));
  assert.deepEqual(
    hypotheses.map(({ tokens, finish }) => [decode(tokens), finish]),
    answers.map(([text, finish]) => [text, finish]),
    name,
  );
  for (const [rank, { score }] of hypotheses.entries()) {
    const expected = answers[rank]?.[2];
    if (typeof expected !== "number") continue; // With greedy decoding, transformers returns no score.
    assert.ok(Math.abs(score - expected) <= 1e-5 * Math.max(1, Math.abs(expected)), `${name}: score ${score}`);
  }
}
