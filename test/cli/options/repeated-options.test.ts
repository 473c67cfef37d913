import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { epalm } from "../../support/cli-process.js";

describe("an option that is given twice", () => {
  const rejected: [string[], string][] = [
    [["caption", "x.png", "-m", "a", "--model", "b"], "-m, --model <dir>"],
    [["caption", "x.png", "-o", "a", "-o", "a"], "-o, --output <file>"],
    [["vqa", "x.png", "-q", "a", "--beams", "2", "--beams", "3"], "--beams <n>"],
    [["vqa", "x.png", "--questions", "a", "--questions", "b"], "--questions <file>"],
    [["train", "x.yaml", "-o", "a", "-o", "b"], "-o, --output <dir>"],
    [["eval", "x.jsonl", "--limit", "1", "--limit", "2"], "--limit <n>"],
    [["fedmae", "finetune", "x", "--train", "a", "--test", "b", "--seed", "1", "--seed", "2"], "--seed <n>"],
  ];
  for (const [args, flags] of rejected) {
    it(`is rejected: ${flags} of ${args[0]}`, async () => {
      const { code, stderr } = await epalm(args);
      assert.deepEqual([code, stderr], [2, `epalm: option '${flags}' can be given only once\n`]);
    });
  }

  it("is accepted if it collects its values or has none", async () => {
    const collecting = ["-q", "a", "-q", "b", "--candidate", "x", "--candidate", "y", "--json", "--json"];
    const { stderr } = await epalm(["vqa", "x.png", ...collecting, "-m", "no-such-model"]);
    assert.match(stderr, /^epalm: .*no-such-model.*\n$/);
    const twice = await epalm(["fedmae", "finetune", "x", "--train", "a", "b", "--train", "c", "--test", "d"]);
    assert.doesNotMatch(twice.stderr, /only once/);
  });
});
