import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { epalmProcess as epalm } from "../support/cli-process.js";

const commands = [
  "build",
  "inspect",
  "caption",
  "vqa",
  "serve",
  "measure",
  "bench",
  "train",
  "eval",
  "fedmae",
  "completion",
];

describe("epalm", { concurrency: true }, () => {
  it("prints the package's version", async () => {
    const { version } = JSON.parse(readFileSync("package.json", "utf8"));
    assert.deepEqual(await epalm(["--version"]), { code: 0, stdout: `${version}\n`, stderr: "" });
  });

  it("names every command, exit code and environment variable in its help", async () => {
    const { code, stdout } = await epalm(["--help"]);
    assert.equal(code, 0);
    for (const word of ["130", "HF_TOKEN", "EPALM_CACHE", "NO_COLOR", ...commands]) {
      assert.match(stdout, new RegExp(`^\\s+${word}\\b`, "m"));
    }
  });

  for (const command of [
    ...commands,
    ...["pretrain", "cascade", "finetune", "import", "reconstruct"].map((name) => `fedmae ${name}`),
  ]) {
    it(`shows examples in the help of ${command}`, async () => {
      const { code, stdout, stderr } = await epalm([...command.split(" "), "--help"]);
      assert.deepEqual([code, stderr], [0, ""]);
      assert.match(stdout, new RegExp(`^Usage: epalm ${command} `));
      assert.match(stdout, new RegExp(`Examples:\n(.*\n)*?  .*epalm ${command} `));
    });
  }

  it("without a command, says what there is, and that this was no use", async () => {
    const { code, stdout, stderr } = await epalm([]);
    assert.deepEqual([code, stdout], [2, ""]);
    assert.match(stderr, /^Usage: epalm/);
  });
});

describe("a command line that cannot be used", { concurrency: true }, () => {
  const picture = ["caption", "cat.png", "--model", "nowhere"];
  const sources = ["build", "--encoder", "e", "--decoder", "d", "--output", "out"];
  const cases: readonly (readonly [what: string, args: readonly string[], message: RegExp])[] = [
    ["an unknown command", ["captoin"], /unknown command 'captoin' \(Did you mean caption\?\)/],
    ["an unknown option", [...picture, "--beam", "3"], /unknown option '--beam' \(Did you mean --beams\?\)/],
    ["no picture", ["caption", "--model", "nowhere"], /missing required argument 'files'/],
    ["a number with more behind it", [...picture, "--beams", "3x"], /--beams .*'3x'.* integer from 1 to 16/],
    ["an empty number", [...picture, "--beams", ""], /--beams .*''.* integer from 1 to 16/],
    ["a number above its limit", [...picture, "--max-tokens", "5000"], /--max-tokens .*from 1 to 4096/],
    ["a fraction for an integer", [...picture, "--top-k", "1.5"], /--top-k .*integer from 1 to 1000/],
    ["infinite heat", [...picture, "--temperature", "Infinity"], /--temperature .*number from 0 to 2/],
    ["no probability", [...picture, "--top-p", "0"], /--top-p .*above 0, at most 1/],
    ["a choice that there is none of", [...picture, "--early-stopping", "maybe"], /Allowed choices are true/],
    ["standard input twice", ["caption", "-", "-", "--model", "m"], /Standard input holds one file/],
    ["a stream of JSON", [...picture, "--stream", "--json"], /'--stream' cannot be used with .*'--json'/],
    [
      "candidates and beams",
      ["vqa", "a.png", "-m", "m", "-q", "what?", "--candidate", "x", "--beams", "2"],
      /--candidate: expected no options of decoding beside it, got --beams/,
    ],
    ["an adapter without a path", [...sources, "--adapter", "coco"], /--adapter .*Expected NAME=PATH/],
    ["a path for a name", [...sources, "--adapter", "../x=y"], /--adapter .*Expected NAME=PATH/],
    [
      "two adapters of one name",
      [...sources, "--adapter", "a=x", "--adapter", "a=y"],
      /There is an adapter 'a' already/,
    ],
  ];

  for (const [what, args, message] of cases) {
    it(`is refused in one line: ${what}`, async () => {
      const { code, stdout, stderr } = await epalm(args);
      assert.deepEqual([code, stdout], [2, ""]);
      assert.match(stderr, /^epalm: [^\n]+\n$/);
      assert.match(stderr, message);
    });
  }
});
