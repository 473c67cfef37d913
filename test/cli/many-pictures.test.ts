import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { appendFileSync, copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import sharp from "sharp";
import { escapeControls } from "../../src/cli/output/output.js";
import { whileLocked } from "../../src/core/files/lock-path.js";
import { buildTiny, epalm, temporaryFolder } from "../support/cli-process.js";

const folder = temporaryFolder();
const model = join(folder, "tiny");
const few = ["--model", model, "--max-tokens", "6", "--threads", "1"];
const photos = Array.from({ length: 5 }, (_, at) => join(folder, `photo-${at}.png`));
const broken = join(folder, "broken.png");
const [first = "", second = ""] = photos;

before(async () => {
  for (const [at, path] of photos.entries()) {
    const background = { r: 50 * at, g: 200 - 40 * at, b: 30 };
    await sharp({ create: { width: 40, height: 30, channels: 3, background } })
      .png()
      .toFile(path);
  }
  writeFileSync(broken, readFileSync(first).subarray(0, 60));
  const built = await buildTiny(model);
  assert.equal(built.code, 0, built.stderr);
});

function linesOf(text: string) {
  assert.ok(text === "" || text.endsWith("\n"));
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}

function linesIn(path: string) {
  return linesOf(readFileSync(path, "utf8"));
}

describe("several files", { concurrency: true }, () => {
  it("have one line of JSON each, which contains the error if a file fails", async () => {
    const { code, stdout, stderr } = await epalm(["caption", first, broken, "nowhere.png", second, ...few, "--jsonl"]);
    assert.equal(code, 1);
    const lines = linesOf(stdout);
    assert.deepEqual(
      lines.map(({ file }) => file),
      [first, broken, "nowhere.png", second],
    );
    assert.equal(lines[1].error.code, "invalid_media");
    assert.deepEqual(lines[2].error, { code: "not_found", message: "nowhere.png: no such file" });
    assert.deepEqual(
      lines.map(({ text }) => typeof text),
      ["string", "undefined", "undefined", "string"],
    );
    assert.match(stderr, /^epalm: .*broken\.png: .*\nepalm: nowhere\.png: no such file\n$/);
  });

  it("have the same output with --json and --jsonl", async () => {
    const without = (text: string) => linesOf(text).map(({ timings, ...line }) => line);
    // In batches, log-probabilities would differ in their last digits.
    const args = ["caption", first, second, "--concurrency", "1", ...few];
    const [json, jsonl] = await Promise.all([epalm([...args, "--json"]), epalm([...args, "--jsonl"])]);
    assert.deepEqual(without(jsonl.stdout), without(json.stdout));
  });

  it("are resumed from --output: answered files are skipped, failed files are tried again", async () => {
    const output = join(folder, "captions.jsonl");
    const late = join(folder, "late.png");
    const args = ["caption", first, late, second, first, ...few, "--output", output];
    const once = await epalm(args);
    assert.deepEqual([once.code, once.stdout], [1, ""]);
    const [kept, failed] = linesIn(output);
    assert.deepEqual([kept.file, failed.file, failed.error.code], [first, late, "not_found"]);

    writeFileSync(late, readFileSync(second));
    const again = await epalm(args);
    assert.deepEqual([again.code, again.stderr], [0, "2 of 3 were already answered\n"]);
    const lines = linesIn(output);
    assert.deepEqual(
      lines.map(({ file, error }) => [file, error]),
      [first, second, late].map((file) => [file, undefined]),
    );
    assert.deepEqual(lines[0], kept);

    const content = readFileSync(output, "utf8");
    assert.equal((await epalm(args)).code, 0);
    assert.equal(readFileSync(output, "utf8"), content);
  });

  for (const [title, cut] of [
    ["a truncated line", '{"file":"photo-1.png","te'],
    ["a truncated character", `{"file":"photo-1.png","text":"\xc3`],
  ] as const) {
    it(`are resumed after ${title}`, async () => {
      const output = join(folder, `${title.replaceAll(" ", "-")}.jsonl`);
      assert.equal((await epalm(["caption", first, ...few, "-o", output])).code, 0);
      appendFileSync(output, Buffer.from(cut, "latin1"));
      assert.equal((await epalm(["caption", first, second, ...few, "-o", output])).code, 0);
      assert.deepEqual(
        linesIn(output).map(({ file }) => file),
        [first, second],
      );
    });
  }

  it("keep a last line that lacks only its line break", async () => {
    const output = join(folder, "unended.jsonl");
    const line = JSON.stringify({ file: first, text: "mine" });
    writeFileSync(output, line);
    assert.equal((await epalm(["caption", first, second, ...few, "-o", output])).code, 0);
    const [kept, added] = linesIn(output);
    assert.deepEqual([kept, added.file], [JSON.parse(line), second]);
  });

  it("are resumed after kill -9", async () => {
    const output = join(folder, "killed.jsonl");
    const names = Array.from({ length: 400 }, (_, at) => join(folder, `killed-${at}.png`));
    for (const name of names) copyFileSync(first, name);
    const args = ["caption", ...names, ...few, "--output", output];
    const child = spawn(process.execPath, ["dist/src/cli/main.js", ...args]);
    const closed = new Promise((resolve) => child.once("close", resolve));
    while (!existsSync(output) || readFileSync(output, "utf8").split("\n").length < 5) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    child.kill("SIGKILL");
    await closed;
    const before = readFileSync(output, "utf8");
    const { code, stderr } = await epalm(args);
    assert.equal(code, 0, stderr);
    const whole = before.slice(0, before.lastIndexOf("\n") + 1);
    assert.ok(whole.length > 0 && readFileSync(output, "utf8").startsWith(whole));
    const lines = linesIn(output);
    assert.ok(whole.split("\n").length - 1 < 400);
    assert.deepEqual(lines.map(({ file }) => file).sort(), names.toSorted());
  });

  it("reject an output file with other contents, and leave it unchanged", async () => {
    const foreign: readonly (readonly [content: string, message: RegExp])[] = [
      ["my notes\nof today\n", /--output: .*:1: expected an answer as a JSON object/],
      [
        '{"file":"a.png","model":"other","text":"x"}\n',
        /:1: expected an answer of the model 'tiny', got one of 'other'/,
      ],
    ];
    const nowhere = join(folder, "none", "x.jsonl");
    const { code, stderr } = await epalm(["caption", first, ...few, "-o", nowhere]);
    assert.equal(code, 2);
    assert.equal(stderr, `epalm: --output: ${nowhere}: the folder ${join(folder, "none")} does not exist\n`);
    for (const [at, [content, message]] of foreign.entries()) {
      const output = join(folder, `foreign-${at}.jsonl`);
      writeFileSync(output, content);
      const { code, stderr } = await epalm(["caption", first, ...few, "-o", output]);
      assert.equal(code, 2);
      assert.match(stderr, /^epalm: [^\n]+\n$/);
      assert.match(stderr, message);
      assert.equal(readFileSync(output, "utf8"), content);
    }
  });

  it("are identified by file and question", async () => {
    const output = join(folder, "answers.jsonl");
    const ask = (question: string) => epalm(["vqa", first, second, "-q", question, ...few, "-o", output]);
    assert.equal((await ask("what?")).code, 0);
    assert.equal((await ask("where?")).code, 0);
    assert.match((await ask("what?")).stderr, /^2 of 2 were already answered\n$/);
    assert.deepEqual(
      linesIn(output).map(({ file, question }) => [file, question]),
      ["what?", "where?"].flatMap((question) => [first, second].map((file) => [file, question])),
    );
  });

  it("have individual questions in a file", async () => {
    const questions = join(folder, "questions.jsonl");
    const rows = [
      { id: 1, image: "photo-0.png", question: "what colour?", answer: "red", answers: ["red", ""] },
      { image: "nowhere.png", question: "what?" },
      { image: "photo-0.png", question: "long ".repeat(100).trim() },
      { image: second, question: "how\tmany?" },
    ];
    writeFileSync(questions, `${rows.map((row) => JSON.stringify(row)).join("\n")}\n\n`);
    const { code, stdout } = await epalm(["vqa", "--questions", questions, ...few, "--jsonl"]);
    assert.equal(code, 1);
    const lines = linesOf(stdout);
    assert.deepEqual(
      lines.map(({ file, question, error }) => [file, question, error?.code]),
      rows.map(({ image, question }, at) => [
        image,
        question,
        [undefined, "not_found", "invalid_option", undefined][at],
      ]),
    );
    const single = await epalm(["vqa", first, "-q", "what colour?", ...few]);
    assert.equal(single.stdout, `${escapeControls(lines[0].text)}\n`);
    const text = await epalm(["vqa", "--questions", questions, ...few]);
    assert.equal(text.stdout.split("\n")[0], `photo-0.png\twhat colour?\t${escapeControls(lines[0].text)}`);
    assert.match(text.stdout, /\thow many\?\t/);
  });

  it("have an answer to each of several questions", async () => {
    const output = join(folder, "several.jsonl");
    const ask = (...questions: string[]) => [
      "vqa",
      first,
      second,
      ...questions.flatMap((text) => ["-q", text]),
      ...few,
    ];
    const expected = [first, second].flatMap((file) => ["what?", "how\tmany?"].map((question) => [file, question]));
    const { code, stderr } = await epalm([...ask("what?", "how\tmany?"), "-o", output]);
    assert.equal(code, 0, stderr);
    const lines = linesIn(output);
    assert.deepEqual(
      lines.map(({ file, question }) => [file, question]),
      expected,
    );
    for (const { timings } of lines) assert.ok(timings.media > 0 && timings.encoder > 0);
    const text = await epalm(ask("what?", "how\tmany?"));
    assert.equal(
      text.stdout,
      lines
        .map(({ file, question, text }) => `${file}\t${question.replace("\t", " ")}\t${escapeControls(text)}\n`)
        .join(""),
    );
    const one = await epalm(["vqa", second, "-q", "how\tmany?", ...few]);
    assert.equal(one.stdout, `${escapeControls(lines[3].text)}\n`);
    const more = await epalm([...ask("what?", "where?"), "-o", output]);
    assert.equal(more.stderr, "2 of 4 were already answered\n");
    assert.equal(linesIn(output).length, 6);
  });

  it("are written by one process at a time", async () => {
    const output = join(folder, "shared.jsonl");
    const args = ["caption", ...photos, ...few, "-o", output];
    const rejected = await whileLocked(output, () => epalm(args));
    const reason = "another process is writing it; wait for its end or choose another path";
    assert.deepEqual([rejected.code, rejected.stderr], [1, `epalm: ${output}: ${reason}\n`]);
    assert.equal((await epalm(args)).code, 0);
    assert.deepEqual(
      linesIn(output).map(({ file }) => file),
      photos,
    );
  });

  const unusable: readonly (readonly [title: string, args: readonly string[], code: number, message: RegExp])[] = [
    ["no question", ["vqa", "a.png"], 2, /expected --question or --questions, got neither/],
    ["a question without files", ["vqa", "-q", "what?"], 2, /files: expected at least one file, or --questions/],
    ["--question and --questions", ["vqa", "-q", "what?", "--questions", "x.jsonl"], 2, /cannot be used with/],
    ["files and --questions", ["vqa", "a.png", "--questions", "x.jsonl"], 2, /files: expected none with --questions/],
    ["a missing file of questions", ["vqa", "--questions", "none.jsonl"], 1, /--questions: none.jsonl: no such file/],
    [
      "--stream and --output",
      ["caption", "a.png", "--stream", "--output", "x.jsonl"],
      2,
      /'--stream' cannot be used with/,
    ],
    ["--stream and --jsonl", ["caption", "a.png", "--stream", "--jsonl"], 2, /'--stream' cannot be used with/],
  ];
  for (const [title, args, code, message] of unusable) {
    it(`are rejected: ${title}`, async () => {
      const finished = await epalm([...args, ...few]);
      assert.deepEqual([finished.code, finished.stdout], [code, ""]);
      assert.match(finished.stderr, /^epalm: [^\n]+\n$/);
      assert.match(finished.stderr, message);
    });
  }

  it("are rejected with an invalid line in the file of questions", async () => {
    const questions = join(folder, "bad.jsonl");
    for (const line of ['{"image":"a.png"}', '{"imge":"a.png","question":"x"}', "?", '{"image":"a","question":"?"}']) {
      writeFileSync(questions, `{"image":"a.png","question":"x"}\n${line}\n`);
      const { code, stdout, stderr } = await epalm(["vqa", "--questions", questions, ...few]);
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(stderr, /^epalm: --questions: .*bad\.jsonl:2: [^\n]+\n$/);
    }
  });
});
