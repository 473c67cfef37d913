import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import sharp from "sharp";
import { escapeControls } from "../../src/cli/output/output.js";
import { buildTiny, epalm, epalmProcess, temporaryFolder } from "../support/cli-process.js";

const folder = temporaryFolder();
const model = join(folder, "tiny");
const [red, blue, broken] = ["red.png", "blue.png", "broken.png"].map((name) => join(folder, name)) as [
  string,
  string,
  string,
];
const onModel = ["--model", model, "--threads", "1"];
const few = [...onModel, "--max-tokens", "6"];

before(async () => {
  for (const [path, background] of [
    [red, { r: 200, g: 30, b: 30 }],
    [blue, { r: 20, g: 40, b: 220 }],
  ] as const) {
    await sharp({ create: { width: 40, height: 30, channels: 3, background } })
      .png()
      .toFile(path);
  }
  writeFileSync(broken, readFileSync(red).subarray(0, 60));
  const built = await buildTiny(model);
  assert.equal(built.code, 0, built.stderr);
});

/** The text that a successful command prints. */
async function textOf(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await epalm(args);
  assert.deepEqual([code, stderr], [0, ""]);
  return stdout.replace(/\n$/, "");
}

describe("epalm caption", { concurrency: true }, () => {
  it("prints only the text for one image", async () => {
    const text = await textOf("caption", red, ...few);
    const { stdout } = await epalm(["caption", red, ...few, "--json"]);
    const answer = JSON.parse(stdout);
    assert.equal(escapeControls(answer.text), text);
    assert.deepEqual([answer.file, answer.model, answer.adapter], [red, "tiny", "a"]);
    assert.equal(answer.usage.newTokens, 6);
  });

  it("reads an image from standard input", async () => {
    const { code, stdout } = await epalmProcess(["caption", "-", ...few], { input: readFileSync(red) });
    assert.equal(code, 0);
    assert.equal(stdout, `${await textOf("caption", red, ...few)}\n`);
  });

  it("prints a line for each of several images, and continues after a damaged one", async () => {
    const { code, stdout, stderr } = await epalmProcess(["caption", red, broken, "nowhere.png", blue, ...few]);
    assert.equal(code, 1);
    const lines = stdout.trimEnd().split("\n");
    assert.deepEqual(
      lines.map((line) => line.split("\t")[0]),
      [red, blue],
    );
    const [cut, missing, ...others] = stderr.trimEnd().split("\n");
    assert.match(cut ?? "", /^epalm: .*broken\.png: /);
    assert.equal(missing, "epalm: nowhere.png: no such file");
    assert.deepEqual(others, []);
  });

  it("prints a JSON object for each of several images", async () => {
    const { stdout } = await epalm(["caption", red, blue, ...few, "--json"]);
    const files = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line).file);
    assert.deepEqual(files, [red, blue]);
  });

  it("streams the same text that it prints otherwise", async () => {
    const greedy = ["caption", red, ...few, "--beams", "1"];
    assert.equal(await textOf(...greedy, "--stream"), await textOf(...greedy));
  });

  it("samples the same texts with the same seed, best first, with scores", async () => {
    const args = ["caption", red, ...few, "--temperature", "1", "--top-k", "20", "--sequences", "3", "--scores"];
    const drawn = await textOf(...args, "--seed", "7");
    assert.equal(drawn, await textOf(...args, "--seed", "7"));
    assert.notEqual(drawn, await textOf(...args, "--seed", "8"));
  });

  it("exits with 130 on Ctrl-C, after printing the finished answers", async () => {
    const args = ["caption", red, "-", ...few];
    const { code, stdout, stderr } = await epalmProcess(args, { input: "open", signalWhenBusy: "SIGINT" });
    assert.deepEqual([code, stderr], [130, "epalm: interrupted\n"]);
    assert.match(stdout, /^[^\n]*red\.png\t[^\n]*\n$/);
  });

  it("names the flag if options cannot be combined", async () => {
    const { code, stderr } = await epalm(["caption", red, ...onModel, "--top-k", "5"]);
    assert.deepEqual([code, stderr], [2, "epalm: --top-k: expected no value with beams above 1, got 5\n"]);
  });

  it("rejects an unknown adapter, once for all files", async () => {
    const { code, stdout, stderr } = await epalm(["caption", red, blue, ...onModel, "--adapter", "b"]);
    assert.deepEqual([code, stdout], [1, ""]);
    assert.equal(stderr, "epalm: adapter 'b': expected one of a\n");
  });

  it("rejects a folder without a model", async () => {
    const { code, stderr } = await epalm(["caption", red, "--model", folder]);
    assert.equal(code, 1);
    assert.match(stderr, /^epalm: .*epalm\.json: no such file; every model folder contains one\n$/);
  });

  it("rejects a file in place of a model folder", async () => {
    const { code, stderr } = await epalm(["caption", red, "--model", red]);
    assert.deepEqual([code, stderr], [1, `epalm: ${red}: expected a model folder, got a file\n`]);
  });

  it("reports empty standard input, and continues with the other files", async () => {
    const { code, stdout, stderr } = await epalmProcess(["caption", "-", red, ...few, "--json"], {
      input: Buffer.alloc(0),
    });
    assert.deepEqual([code, stderr], [1, "epalm: standard input is empty\n"]);
    const [empty, answered] = stdout.split("\n", 2).map((line) => JSON.parse(line));
    assert.deepEqual(empty, { file: "-", error: { code: "invalid_media", message: "standard input is empty" } });
    assert.equal(answered.file, red);
  });

  it("names standard input in errors about its content", async () => {
    const { code, stderr } = await epalmProcess(["caption", "-", ...few], { input: Buffer.from("text") });
    assert.equal(code, 1);
    assert.match(stderr, /^epalm: standard input: expected [^\n]+\n$/);
  });

  it("prints a stack trace if EPALM_DEBUG is set", async () => {
    const { code, stderr } = await epalmProcess(["caption", red, "--model", folder], { env: { EPALM_DEBUG: "1" } });
    assert.equal(code, 1);
    assert.match(stderr, /\n +at .*manifest\.js/);
  });
});

describe("epalm vqa", { concurrency: true }, () => {
  const question = ["--question", "what colour is it?"];

  it("answers a question", async () => {
    const { code, stdout } = await epalmProcess(["vqa", red, ...question, ...few, "--json"]);
    assert.equal(code, 0);
    const answer = JSON.parse(stdout);
    assert.equal(answer.question, "what colour is it?");
    assert.ok(answer.usage.promptTokens > 1);
    assert.equal(await textOf("vqa", red, ...question, ...few), escapeControls(answer.text));
  });

  it("ranks candidates, and prints the best or all with their probabilities", async () => {
    const candidates = ["red", "blue", "green"].flatMap((text) => ["--candidate", text]);
    const ask = ["vqa", red, ...question, ...onModel, ...candidates];
    const rows = (await textOf(...ask, "--scores")).split("\n").map((line) => line.split("\t"));
    const probabilities = rows.map(([probability]) => Number(probability));
    assert.deepEqual(rows.map(([, text]) => text).sort(), ["blue", "green", "red"]);
    assert.deepEqual(
      probabilities,
      probabilities.toSorted((a, b) => b - a),
    );
    assert.ok(Math.abs(probabilities.reduce((sum, value) => sum + value, 0) - 1) < 2e-4);
    assert.equal(await textOf(...ask), rows[0]?.[1]);
  });

  it("answers several questions about standard input", async () => {
    const asked = ["vqa", "-", ...question, "-q", "what?", ...few];
    const { code, stdout, stderr } = await epalmProcess(asked, { input: readFileSync(red) });
    assert.equal(code, 0, stderr);
    const file = await textOf("vqa", red, ...question, "-q", "what?", ...few);
    assert.equal(stdout.trimEnd().replaceAll("-\t", ""), file.replaceAll(`${red}\t`, ""));
    assert.equal(stdout.split("\n").length, 3);
  });

  it("streams the answers to several questions one after the other", async () => {
    const greedy = ["vqa", red, blue, ...question, "-q", "what?", ...few, "--beams", "1"];
    assert.equal(await textOf(...greedy, "--stream"), await textOf(...greedy));
  });

  it("rejects an empty question", async () => {
    const { code, stderr } = await epalm(["vqa", red, blue, "--question", " ?", ...onModel]);
    assert.deepEqual([code, stderr], [2, "epalm: --question: expected a non-empty string, got none\n"]);
  });
});
