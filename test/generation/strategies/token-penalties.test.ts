import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type GenerationOptions, parseGenerationOptions } from "../../../src/generation/options.js";
import { bestScores } from "../../../src/generation/strategies/best-scores.js";
import { createStrategy } from "../../../src/generation/strategies/create-strategy.js";
import { applyLogitsProcessors, type LogitsProcessors } from "../../../src/generation/strategies/logits-processors.js";
import type { FinishReason } from "../../../src/generation/strategies/strategy.js";
import { applyPenalties, type TokenPenalties } from "../../../src/generation/strategies/token-penalties.js";
import { readFixture, rowOutput, run, type TableModel, waveModel } from "../../support/table-model.js";

type Biases = Readonly<Record<string, number>>;

/** Written by make-penalties-fixture.py. */
interface Fixture {
  readonly scores: readonly (Omit<TokenPenalties, "biases"> & {
    readonly prompt: readonly number[];
    readonly tokens: readonly number[];
    readonly logits: readonly number[];
    readonly logitBias: Biases;
    readonly expected: readonly number[];
  })[];
  readonly minP: readonly (LogitsProcessors & {
    readonly logits: readonly number[];
    readonly probabilities: readonly number[];
  })[];
  readonly answers: readonly (readonly [
    prompt: readonly number[],
    beams: number,
    repetitionPenalty: number,
    frequencyPenalty: number,
    presencePenalty: number,
    logitBias: Biases,
    answers: readonly (readonly [text: string, finish: FinishReason, score: number | null])[],
  ])[];
}

const { scores, minP, answers } = readFixture<Fixture>("penalties.json");
const { letters, logits } = readFixture<{ letters: string; logits: readonly (readonly number[])[] }>(
  "beam-search.json",
);

const model: TableModel = {
  vocabulary: letters.length,
  logitsAfter: (tokens) => {
    const next = logits[(tokens.at(-2) ?? 0) * letters.length + (tokens.at(-1) ?? 0)] ?? [];
    return next.map((logit) => logit / 64);
  },
};
const decode = (tokens: readonly number[]) => tokens.map((token) => letters[token]).join("");

function biasesOf(logitBias: Biases): ReadonlyMap<number, number> {
  return new Map(Object.entries(logitBias).map(([token, bias]) => [Number(token), bias]));
}

/** The answers of a strategy with these options. */
function answersFor(options: GenerationOptions, prompt: readonly number[], table = model) {
  const plan = parseGenerationOptions(options);
  const biases = biasesOf(options.logitBias ?? {});
  const strategy = createStrategy(plan, { eosTokenIds: new Set([3, 7]), decode, prompt, biases });
  return run(strategy, table, prompt).hypotheses;
}

describe("penalties and biases", () => {
  it("change logits exactly as transformers and vLLM do", () => {
    assert.ok(scores.length > 30);
    for (const { prompt, tokens, logits, logitBias, expected, ...penalties } of scores) {
      const changed = Float32Array.from(logits);
      applyPenalties(changed, { ...penalties, biases: biasesOf(logitBias) }, prompt, tokens);
      assert.deepEqual(changed, Float32Array.from(expected), JSON.stringify({ ...penalties, logitBias }));
    }
  });

  it("give the same greedy answers and the same beams as transformers", () => {
    assert.ok(answers.length > 100);
    let differing = 0;
    for (const [prompt, beams, repetitionPenalty, frequencyPenalty, presencePenalty, logitBias, expected] of answers) {
      const penalties = { repetitionPenalty, frequencyPenalty, presencePenalty, logitBias };
      const options = { maxNewTokens: 10, beams, numReturnSequences: beams, ...penalties };
      const found = answersFor(options, prompt);
      const name = JSON.stringify(options);
      // Scores are equal now and then; the order of these answers differs.
      const sorted = (list: readonly (readonly [text: string, finish: FinishReason, ...unknown[]])[]) =>
        list.map(([text, finish]) => `${text} ${finish}`).sort();
      assert.deepEqual(sorted(found.map(({ tokens, finish }) => [decode(tokens), finish])), sorted(expected), name);
      for (const [rank, [, , score]] of expected.entries()) {
        if (score !== null) assert.ok(Math.abs((found[rank]?.score ?? Number.NaN) - score) < 2e-5, name);
      }
      const plain = answersFor({ maxNewTokens: 10, beams, numReturnSequences: beams }, prompt);
      const texts = plain.map(({ tokens }) => decode(tokens)).join();
      if (texts !== expected.map(([text]) => text).join()) differing++;
    }
    assert.ok(differing > answers.length / 2, `the penalties change ${differing} of ${answers.length} answers`);
  });

  it("report the log-probabilities of the model itself", () => {
    for (const beams of [1, 3]) {
      const [best] = answersFor({ maxNewTokens: 8, beams, frequencyPenalty: 1.5, repetitionPenalty: 1.4 }, [5]);
      assert.ok(best);
      for (const [at, logProb] of best.logProbs.slice(0, best.tokens.length).entries()) {
        const { tokens, logProbs } = rowOutput(model.logitsAfter([5, ...best.tokens.slice(0, at)]));
        const expected = logProbs[Array.from(tokens).indexOf(best.tokens[at] ?? -1)] ?? Number.NaN;
        assert.ok(Math.abs(logProb - expected) < 1e-6);
      }
    }
  });

  it("bar and force tokens", () => {
    const barred = Object.fromEntries([...letters].map((_, token) => [token, token % 2 === 0 ? 0 : -100]));
    for (const options of [{}, { beams: 2 }, { temperature: 1, seed: 3 }]) {
      const [best] = answersFor({ ...options, maxNewTokens: 10, logitBias: barred }, [5]);
      assert.ok(best?.tokens.every((token) => token % 2 === 0));
      const [forced] = answersFor({ ...options, maxNewTokens: 4, logitBias: { 9: 100 } }, [5]);
      assert.deepEqual(forced?.tokens, [9, 9, 9, 9]);
    }
  });

  it("fetch no logits if they change nothing", () => {
    const needs = (options: GenerationOptions) =>
      createStrategy(parseGenerationOptions(options), { eosTokenIds: new Set(), decode }).needs;
    const neutral = { repetitionPenalty: 1, frequencyPenalty: 0, presencePenalty: 0, logitBias: { 4: 0 } };
    assert.deepEqual(needs(neutral), { kind: "next", count: 1 });
    assert.deepEqual(needs({ ...neutral, temperature: 1, topK: 5 }), { kind: "next", count: 5 });
    for (const one of [{ repetitionPenalty: 1.1 }, { presencePenalty: -1 }, { logitBias: { 4: 1 } }]) {
      assert.deepEqual(needs(one), { kind: "logits" });
    }
  });
});

describe("min-p", () => {
  it("changes distributions as transformers does", () => {
    for (const { logits, probabilities, ...settings } of minP) {
      const next = rowOutput(logits);
      const kept = applyLogitsProcessors(next, settings);
      assert.equal(kept.length, probabilities.filter((one) => one > 0).length, JSON.stringify(settings));
      for (const [rank, token] of Array.from(next.tokens).entries()) {
        const difference = Math.abs((kept[rank] ?? 0) - (probabilities[token] ?? Number.NaN));
        assert.ok(difference < 1e-6, `${JSON.stringify(settings)}: token ${token} differs by ${difference}`);
      }
    }
  });
});

describe("sampling from a large vocabulary", () => {
  it("draws the same tokens whether or not the first ranks suffice", () => {
    const large = waveModel(5000, 3);
    for (const options of [{}, { topP: 0.3 }, { topP: 0.99 }, { minP: 0.5 }, { minP: 0.01, topP: 0.97 }]) {
      for (const temperature of [0.1, 2]) {
        const plan = parseGenerationOptions({ ...options, temperature, seed: 11, maxNewTokens: 12 });
        const strategy = createStrategy(plan, { eosTokenIds: new Set(), decode: () => "" });
        assert.deepEqual(strategy.needs, { kind: "logits" });
        const [found] = run(strategy, large, [1]).hypotheses;
        const ranked = createStrategy(plan, { eosTokenIds: new Set(), decode: () => "" });
        let text = [1];
        while (text.length <= 12) {
          const [next] = ranked.advance([rowOutput(large.logitsAfter(text))]);
          if (!next) break;
          text = [...text, next.token];
        }
        assert.deepEqual(found?.tokens, ranked.hypotheses()[0]?.tokens, JSON.stringify({ ...options, temperature }));
      }
    }
  });
});

describe("bestScores", () => {
  it("orders any number of tokens by their scores and then by their ids", () => {
    const scores = Float32Array.from({ length: 600 }, (_, id) => Math.round(8 * Math.sin(7 * id)) / 4);
    scores.set([-0, 0, Number.NEGATIVE_INFINITY, -1e-38, 3e38, -3e38], 100);
    const ids = Array.from(scores.keys()).filter((id) => scores[id] !== Number.NEGATIVE_INFINITY);
    const expected = ids.sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0) || a - b);
    for (const count of [1, 2, 40, 75, 76, 300, 600]) {
      assert.deepEqual(bestScores(scores, count), expected.slice(0, count));
    }
  });
});

describe("the most probable tokens", () => {
  it("are reported for each token, under the model itself, with and without penalties", () => {
    const settings: GenerationOptions[] = [
      {},
      { beams: 3 },
      { temperature: 1 },
      { temperature: 1, topK: 2 },
      { presencePenalty: 2 },
      { beams: 2, logitBias: { 1: 5 } },
      { minNewTokens: 3 },
    ];
    for (const options of settings) {
      const [best] = answersFor({ ...options, maxNewTokens: 6, topLogprobs: 4 }, [5]);
      assert.ok(best);
      assert.equal(best.alternatives.length, best.logProbs.length);
      for (const [at, choices] of best.alternatives.entries()) {
        const { tokens, logProbs } = rowOutput(model.logitsAfter([5, ...best.tokens.slice(0, at)]), 4);
        assert.deepEqual(
          choices.map(({ token }) => token),
          Array.from(tokens),
        );
        for (const [rank, { logProb }] of choices.entries()) {
          assert.ok(Math.abs(logProb - (logProbs[rank] ?? Number.NaN)) < 1e-6);
        }
      }
    }
    assert.ok(answersFor({ maxNewTokens: 3 }, [5])[0]?.alternatives.every((choices) => choices.length === 0));
  });
});
