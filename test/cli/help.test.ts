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
  "worker",
  "batch",
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

  it("lists commands, exit codes and environment variables in its help", async () => {
    const { code, stdout } = await epalm(["--help"]);
    assert.equal(code, 0);
    for (const word of ["130", "HF_TOKEN", "EPALM_CACHE", "NO_COLOR", ...commands]) {
      assert.match(stdout, new RegExp(`^\\s+${word}\\b`, "m"));
    }
  });

  for (const command of [
    ...commands,
    ...[
      "pretrain",
      "cascade",
      "finetune",
      "import",
      "reconstruct",
      "round-plan",
      "round-client",
      "round-check",
      "round-apply",
    ].map((name) => `fedmae ${name}`),
  ]) {
    it(`shows examples in the help of ${command}`, async () => {
      const { code, stdout, stderr } = await epalm([...command.split(" "), "--help"]);
      assert.deepEqual([code, stderr], [0, ""]);
      assert.match(stdout, new RegExp(`^Usage: epalm ${command} `));
      assert.match(stdout, new RegExp(`Examples:\n(.*\n)*?  .*epalm ${command} `));
    });
  }

  it("prints its help and exits with 2 without a command", async () => {
    const { code, stdout, stderr } = await epalm([]);
    assert.deepEqual([code, stdout], [2, ""]);
    assert.match(stderr, /^Usage: epalm/);
  });
});

describe("an invalid command line", { concurrency: true }, () => {
  const picture = ["caption", "cat.png", "--model", "nowhere"];
  const sources = ["build", "--encoder", "e", "--decoder", "d", "--output", "out"];
  const cases: readonly (readonly [what: string, args: readonly string[], message: RegExp])[] = [
    ["an unknown command", ["captoin"], /unknown command 'captoin' \(Did you mean caption\?\)/],
    ["an unknown option", [...picture, "--beam", "3"], /unknown option '--beam' \(Did you mean --beams\?\)/],
    ["no file", ["caption", "--model", "nowhere"], /missing required argument 'files'/],
    ["characters after a number", [...picture, "--beams", "3x"], /--beams .*'3x'.* integer from 1 to 16/],
    ["an empty number", [...picture, "--beams", ""], /--beams .*''.* integer from 1 to 16/],
    ["a number above the maximum", [...picture, "--max-tokens", "5000"], /--max-tokens .*from 1 to 4096/],
    ["a fraction in place of an integer", [...picture, "--top-k", "1.5"], /--top-k .*integer from 1 to 1000/],
    ["an infinite temperature", [...picture, "--temperature", "Infinity"], /--temperature .*number from 0 to 2/],
    ["a probability of 0", [...picture, "--top-p", "0"], /--top-p .*above 0 and at most 1/],
    ["an unknown choice", [...picture, "--early-stopping", "maybe"], /Allowed choices are true/],
    ["standard input twice", ["caption", "-", "-", "--model", "m"], /Standard input can be given only once/],
    ["a stream of JSON", [...picture, "--stream", "--json"], /'--stream' cannot be used with .*'--json'/],
    [
      "candidates and beams",
      ["vqa", "a.png", "-m", "m", "-q", "what?", "--candidate", "x", "--beams", "2"],
      /--candidate: expected no generation options with it, got --beams/,
    ],
    ["an adapter without a path", [...sources, "--adapter", "coco"], /--adapter .*Expected NAME=PATH/],
    ["a path in place of a name", [...sources, "--adapter", "../x=y"], /--adapter .*Expected NAME=PATH/],
    [
      "two adapters with the same name",
      [...sources, "--adapter", "a=x", "--adapter", "a=y"],
      /Expected a different name for each adapter, got 'a' twice/,
    ],
  ];

  for (const [what, args, message] of cases) {
    it(`is rejected on one line: ${what}`, async () => {
      const { code, stdout, stderr } = await epalm(args);
      assert.deepEqual([code, stdout], [2, ""]);
      assert.match(stderr, /^epalm: [^\n]+\n$/);
      assert.match(stderr, message);
    });
  }
});
