import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import sharp from "sharp";
import { membersOf } from "../../../../src/cli/bulk/tar-media.js";
import { randomStreams } from "../../../../src/core/random.js";
import { buildTiny, epalmProcess, temporaryFolder } from "../../../support/cli-process.js";

const folder = temporaryFolder();
const model = join(folder, "tiny");
const photos = join(folder, "photos");
const on = ["--model", model, "--max-tokens", "4", "--threads", "1"];
const FILES = 400;
const KILLS = 20;

before(async () => {
  mkdirSync(photos);
  const colours = await Promise.all(
    Array.from({ length: 8 }, (_, at) =>
      sharp({ create: { width: 40, height: 30, channels: 3, background: { r: 30 * at, g: 200 - 20 * at, b: 30 } } })
        .jpeg()
        .toFile(join(folder, `${at}.jpg`)),
    ),
  );
  for (let at = 0; at < FILES; at++) {
    copyFileSync(join(folder, `${at % colours.length}.jpg`), join(photos, `${String(at).padStart(4, "0")}.jpg`));
  }
  assert.equal((await buildTiny(model)).code, 0);
});

/**
 * Runs a command and kills it after a time, unless it has ended.
 *
 * @param output if given, the time begins when the run has written to this file
 */
async function killedAfter(args: readonly string[], milliseconds: number, output?: string): Promise<void> {
  const sizeOf = () => (output && existsSync(output) ? statSync(output).size : 0);
  const before = sizeOf();
  const child = spawn(process.execPath, ["dist/src/cli/main.js", ...args, ...on], { stdio: "ignore" });
  const closed = new Promise((resolve) => child.once("close", resolve));
  while (output && child.exitCode === null && sizeOf() <= before) await delay(2);
  await Promise.race([closed, delay(milliseconds)]);
  child.kill("SIGKILL");
  await closed;
}

function filesIn(path: string): string[] {
  return readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line).file);
}

describe("a run over many files", () => {
  it(`has one line per file after ${KILLS} kills`, async () => {
    const output = join(folder, "killed.jsonl");
    const args = ["caption", photos, "--concurrency", "4", "-o", output];
    const [random = Math.random] = randomStreams(7, 1);
    let written = "";
    let inTheMiddle = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      // Sometimes while the model is loaded or the output is read, mostly soon after the first answer.
      if (kill % 4 === 0) await killedAfter(args, 500 + random() * 2500);
      else await killedAfter(args, random() * 60, output);
      const content = existsSync(output) ? readFileSync(output, "utf8") : "";
      const whole = content.slice(0, content.lastIndexOf("\n") + 1);
      assert.ok(whole.startsWith(written), "nothing that was written is lost");
      if (whole.length > written.length && whole.split("\n").length <= FILES) inTheMiddle++;
      written = whole;
    }
    assert.ok(inTheMiddle >= KILLS / 4, `${inTheMiddle}`);
    const { code, stderr } = await epalmProcess([...args, ...on]);
    assert.equal(code, 0, stderr);
    assert.ok(readFileSync(output, "utf8").startsWith(written));
    const files = filesIn(output);
    assert.equal(files.length, FILES);
    assert.equal(new Set(files).size, FILES);
  });

  it("has one sample per file in its tar files after kills", async () => {
    const output = join(folder, "killed-%03d.tar");
    const args = ["caption", photos, "--concurrency", "4", "--samples-per-tar", "50", "-o", output];
    for (const milliseconds of [1500, 2500, 2000]) await killedAfter(args, milliseconds);
    const { code, stderr } = await epalmProcess([...args, ...on]);
    assert.equal(code, 0, stderr);
    const names: string[] = [];
    for (let at = 0; existsSync(join(folder, `killed-${String(at).padStart(3, "0")}.tar`)); at++) {
      for await (const { name } of membersOf(join(folder, `killed-${String(at).padStart(3, "0")}.tar`)))
        names.push(name);
    }
    assert.equal(names.length, 3 * FILES);
    assert.equal(new Set(names).size, 3 * FILES);
  });

  it("gives the same lines as four processes whose parts are merged, one of which is killed and run again", async () => {
    const whole = join(folder, "whole.jsonl");
    assert.equal((await epalmProcess(["caption", photos, "-o", whole, ...on])).code, 0);
    const output = join(folder, "parts.jsonl");
    const shard = (number: number) => ["caption", photos, "-o", output, "--shard", `${number}/4`];
    const parts = [1, 2, 3, 4].map((number) => join(folder, `parts-0000${number}-of-00004.jsonl`));
    const merge = ["merge", ...parts, "-o", join(folder, "merged.jsonl")];
    await Promise.all([
      ...[1, 3, 4].map((number) => epalmProcess([...shard(number), ...on])),
      killedAfter([...shard(2), "--concurrency", "1"], 1500),
    ]);
    writeFileSync(parts[1] ?? "", "", { flag: "a" });
    const early = await epalmProcess(merge);
    assert.equal(early.code, 1);
    assert.match(early.stderr, /part 2 is not complete: run `--shard 2\/4` again/);
    assert.equal((await epalmProcess([...shard(2), ...on])).code, 0);
    assert.equal((await epalmProcess(merge)).code, 0);
    const textsIn = (path: string) =>
      readFileSync(path, "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line))
        .map(({ file, text }) => [file, text]);
    assert.deepEqual(textsIn(join(folder, "merged.jsonl")), textsIn(whole));
  });
});
