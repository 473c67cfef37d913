import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type GenerationOptions, parseGenerationOptions } from "../../src/generation/options.js";

describe("parseGenerationOptions", () => {
  it("is greedy by default", () => {
    const limits = { maxNewTokens: 30, minNewTokens: 0, stop: [] };
    assert.deepEqual(parseGenerationOptions({}), { limits, search: { method: "greedy" } });
    assert.deepEqual(parseGenerationOptions({ temperature: 0, beams: 1, seed: undefined }).search, {
      method: "greedy",
    });
  });

  it("samples at a temperature above 0", () => {
    assert.deepEqual(parseGenerationOptions({ temperature: 0.7, topK: 50, seed: 3, numReturnSequences: 2 }).search, {
      method: "sampling",
      numReturnSequences: 2,
      seed: 3,
      logitsProcessors: { temperature: 0.7, topK: 50, topP: undefined, minP: undefined },
    });
  });

  it("uses beam search with beams above 1", () => {
    assert.deepEqual(parseGenerationOptions({ beams: 3, temperature: 0, earlyStopping: "never" }).search, {
      method: "beams",
      beams: 3,
      numReturnSequences: 1,
      lengthPenalty: 1,
      earlyStopping: "never",
    });
  });

  const refused: readonly (readonly [options: unknown, message: RegExp])[] = [
    [null, /^generation options: expected an object, got null$/],
    [[], /^generation options: expected an object, got \[\]$/],
    [{ max_tokens: 3 }, /^generation options: expected only maxNewTokens, .*, got 'max_tokens'$/],
    [{ toString: 3 }, /got 'toString'$/],
    [{ maxNewTokens: 0 }, /^maxNewTokens: expected an integer from 1 to 4096, got 0$/],
    [{ maxNewTokens: "5" }, /^maxNewTokens: .*, got '5'$/],
    [{ maxNewTokens: 1.5 }, /^maxNewTokens: .*, got 1.5$/],
    [{ maxNewTokens: 4097 }, /^maxNewTokens/],
    [{ maxNewTokens: null }, /^maxNewTokens: .*, got null$/],
    [{ maxNewTokens: 5, minNewTokens: 6 }, /^minNewTokens: expected at most maxNewTokens, 5, got 6$/],
    [{ stop: "." }, /^stop: expected up to 16 strings of 1 to 128 UTF-16 units, got '.'$/],
    [{ stop: [""] }, /^stop/],
    [{ stop: ["x".repeat(129)] }, /^stop: .*, got \[.*more characters \]$/],
    [{ stop: Array(17).fill("x") }, /^stop/],
    [{ beams: 17 }, /^beams: expected an integer from 1 to 16, got 17$/],
    [{ temperature: Number.NaN }, /^temperature: expected a number from 0 to 2, got NaN$/],
    [{ temperature: -0.1 }, /^temperature/],
    [{ temperature: 1, topP: 0 }, /^topP: expected a number above 0 and at most 1, got 0$/],
    [{ temperature: 1, topK: 0 }, /^topK: expected an integer from 1 to 1000, got 0$/],
    [{ temperature: 1, seed: 2 ** 53 }, /^seed/],
    [{ beams: 2, lengthPenalty: Infinity }, /^lengthPenalty/],
    [{ beams: 2, earlyStopping: "always" }, /^earlyStopping: expected true, false or "never", got 'always'$/],
    [{ beams: 2, temperature: 1 }, /^temperature: expected 0 with beams above 1, got 1$/],
    [{ beams: 2, numReturnSequences: 3 }, /^numReturnSequences: expected at most beams, 2, got 3$/],
    [{ beams: 2, seed: 3 }, /^seed: expected no value with beams above 1, got 3$/],
    [
      { numReturnSequences: 2 },
      /^numReturnSequences: expected 1 without beams above 1 or a temperature above 0, got 2$/,
    ],
    [{ topK: 5 }, /^topK: expected no value without a temperature above 0, got 5$/],
    [{ temperature: 1, lengthPenalty: 2 }, /^lengthPenalty: expected no value without beams above 1, got 2$/],
  ];
  for (const [options, message] of refused) {
    it(`rejects invalid options with ${message}`, () => {
      assert.throws(() => parseGenerationOptions(options), {
        name: "EpalmError",
        code: "invalid_option",
        message,
      });
    });
  }

  it("accepts options of the documented type", () => {
    const options: GenerationOptions = { maxNewTokens: 4096, stop: ["\n"], temperature: 2, topP: 1, seed: 0 };
    assert.deepEqual(parseGenerationOptions(options).limits, {
      maxNewTokens: 4096,
      minNewTokens: 0,
      stop: ["\n"],
    });
  });
});
