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

/** What commander makes of arguments. */
function parsed(...argv: readonly string[]): object {
  return addGenerationOptions(new Command()).parse(argv, { from: "user" }).opts();
}

test("flags become the library's options, and only those that were given", () => {
  assert.deepEqual(generationOptions(parsed()), {});
  const given = parsed(
    ...["--max-tokens", "4", "--min-tokens", "2", "--beams", "3", "--length-penalty", "-1"],
    ...["--temperature", "0", "--top-k", "5", "--top-p", ".5", "--seed", "0", "--sequences", "2"],
    ...["--stop", "true", "--stop", "b"],
  );
  assert.deepEqual(generationOptions({ ...given, model: "other flags" }), {
    maxNewTokens: 4,
    minNewTokens: 2,
    beams: 3,
    lengthPenalty: -1,
    temperature: 0,
    topK: 5,
    topP: 0.5,
    seed: 0,
    stop: ["true", "b"],
    numReturnSequences: 2,
  });
  assert.deepEqual(givenGenerationFlags(parsed("--sequences", "2", "--top-k", "5")), ["--top-k", "--sequences"]);
});

test("early stopping is true, false or a word", () => {
  const values = ["true", "false", "never"].map((text) => generationOptions(parsed("--early-stopping", text)));
  assert.deepEqual(values, [{ earlyStopping: true }, { earlyStopping: false }, { earlyStopping: "never" }]);
});

test("an error about an option names the flag", () => {
  const named = namingFlag(new EpalmError("invalid_option", "numReturnSequences: expected 1"));
  assert.equal(named instanceof Error && named.message, "--sequences: expected 1");
});
