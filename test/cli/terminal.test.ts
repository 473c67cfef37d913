import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import sharp from "sharp";
import { buildTiny, epalmProcess, temporaryFolder } from "../support/cli-process.js";

const STYLE = "\x1b[";
const folder = temporaryFolder();
const model = join(folder, "tiny");
const photos = ["a.png", "b.png", "c.png"].map((name) => join(folder, name));

before(async () => {
  for (const photo of photos) {
    await sharp({ create: { width: 40, height: 30, channels: 3, background: "teal" } })
      .png()
      .toFile(photo);
  }
  assert.equal((await buildTiny(model)).code, 0);
});

const hasTerminal = spawnSync("script", ["-qec", "true", "/dev/null"]).status === 0;
const skip = hasTerminal ? false : "`script`, which provides a terminal, is not installed";

/** The output of the command on a terminal. */
function onTerminal(args: readonly string[], environment: Readonly<Record<string, string>> = {}): string {
  const line = [process.execPath, "dist/src/cli/main.js", ...args].map((word) => `'${word}'`).join(" ");
  // If CI is set, Node assumes that terminals have no colours.
  const { NO_COLOR, FORCE_COLOR, CI, ...others } = process.env;
  const env = { ...others, TERM: "xterm-256color", ...environment };
  return spawnSync("script", ["-qec", line, "/dev/null"], { encoding: "utf8", env }).stdout;
}

describe("colours", { concurrency: true }, () => {
  const plain = { NO_COLOR: "", FORCE_COLOR: "" };

  it("are not used without a terminal", async () => {
    assert.ok(!(await epalmProcess(["caption", "--help"], { env: plain })).stdout.includes(STYLE));
    assert.ok(!(await epalmProcess(["captoin"], { env: plain })).stderr.includes(STYLE));
  });

  it("are used if FORCE_COLOR is set and NO_COLOR is not", async () => {
    const forced = { ...plain, FORCE_COLOR: "1" };
    const { stdout } = await epalmProcess(["caption", "--help"], { env: forced });
    assert.ok(stdout.includes(`${STYLE}1mExamples:${STYLE}22m`), stdout);
    const { stderr } = await epalmProcess(["captoin"], { env: forced });
    assert.ok(stderr.startsWith(`${STYLE}31mepalm:${STYLE}39m unknown`), stderr);
    for (const env of [
      { NO_COLOR: "1", FORCE_COLOR: "1" },
      { ...plain, FORCE_COLOR: "0" },
    ]) {
      assert.ok(!(await epalmProcess(["caption", "--help"], { env })).stdout.includes(STYLE));
    }
  });

  it("are used on terminals unless NO_COLOR is set", { skip }, () => {
    assert.ok(onTerminal(["caption", "--help"]).includes(`${STYLE}1mUsage:`));
    assert.ok(onTerminal(["captoin"]).includes(`${STYLE}31mepalm:`));
    assert.ok(!onTerminal(["caption", "--help"], { NO_COLOR: "1" }).includes(STYLE));
  });
});

describe("progress", { skip }, () => {
  const few = ["--model", model, "--max-tokens", "4", "--threads", "1"];

  it("is shown together with errors while --output is written", () => {
    const output = join(folder, "out.jsonl");
    const shown = onTerminal(["caption", ...photos, "nowhere.png", ...few, "--output", output]);
    assert.match(shown, /4\/4 · 1 failed/);
    assert.match(shown, /epalm:.* nowhere\.png: no such file/);
    const lines = readFileSync(output, "utf8").trimEnd().split("\n");
    assert.equal(lines.length, 4);
    assert.ok(lines.every((line) => line.startsWith('{"file":')));
  });

  it("is not shown if answers go to the same terminal", () => {
    const shown = onTerminal(["caption", ...photos, ...few]);
    assert.doesNotMatch(shown, /3\/3/);
    assert.equal(shown.trimEnd().split(/\r?\n/).length, 3);
  });
});
