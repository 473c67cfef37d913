import assert from "node:assert/strict";
import { test } from "node:test";
import { Command } from "commander";
import {
  addGenerationOptions,
  generationOptions,
  givenGenerationFlags,
  namingFlag,
} from "../../../src/cli/options/generation-flags.js";
import { EpalmError } from "../../../src/index.js";

/** The options as commander parses them. */
function parsed(...argv: readonly string[]): object {
  return addGenerationOptions(new Command()).parse(argv, { from: "user" }).opts();
}

test("converts the given flags, and no others, into the library's options", () => {
  assert.deepEqual(generationOptions(parsed()), {});
  const given = parsed(
    ...["--max-tokens", "4", "--min-tokens", "2", "--beams", "3", "--length-penalty", "-1"],
    ...["--temperature", "0", "--top-k", "5", "--top-p", ".5", "--seed", "0", "--sequences", "2"],
    ...["--stop", "true", "--stop", "b", "--min-p", "0.1", "--logit-bias", "a=b=-1.5", "--logit-bias", "7=100"],
    ...["--repetition-penalty", "1.2", "--frequency-penalty", "-2", "--presence-penalty", "1", "--top-logprobs", "3"],
  );
  assert.deepEqual(generationOptions({ ...given, model: "other flags" }), {
    maxNewTokens: 4,
    minNewTokens: 2,
    beams: 3,
    lengthPenalty: -1,
    temperature: 0,
    topK: 5,
    topP: 0.5,
    minP: 0.1,
    repetitionPenalty: 1.2,
    frequencyPenalty: -2,
    presencePenalty: 1,
    logitBias: { "a=b": -1.5, 7: 100 },
    topLogprobs: 3,
    seed: 0,
    stop: ["true", "b"],
    numReturnSequences: 2,
  });
  assert.deepEqual(givenGenerationFlags(parsed("--sequences", "2", "--top-k", "5")), ["--top-k", "--sequences"]);
});

test("accepts true, false and never for early stopping", () => {
  const values = ["true", "false", "never"].map((text) => generationOptions(parsed("--early-stopping", text)));
  assert.deepEqual(values, [{ earlyStopping: true }, { earlyStopping: false }, { earlyStopping: "never" }]);
});

test("names the flags in an error about an option", () => {
  for (const [message, expected] of [
    ["numReturnSequences: expected 1", "--sequences: expected 1"],
    [
      "minNewTokens: expected at most maxNewTokens, 30, got 40",
      "--min-tokens: expected at most --max-tokens, 30, got 40",
    ],
    ["question: expected a string", "--question: expected a string"],
    ["seeds: expected maxNewTokens", "seeds: expected maxNewTokens"],
  ] as const) {
    const named = namingFlag(new EpalmError("invalid_option", message));
    assert.equal(named instanceof Error && named.message, expected);
  }
});
