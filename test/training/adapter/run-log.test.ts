import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import fc from "fast-check";
import { type LogLine, RunLog } from "../../../src/training/adapter/run-log.js";
import { temporaryFolder } from "../../support/temporary-folder.js";

const folder = temporaryFolder();
const path = join(folder, "log.jsonl");

function stepLine(step: number): LogLine {
  return {
    kind: "step",
    step,
    steps: 6,
    epoch: Math.floor((step - 1) / 2),
    loss: 3 / step,
    tokenLoss: 1 / step,
    learningRate: 2e-5,
    gradientNorm: 0.1,
    examples: 16,
    milliseconds: 12.5,
  };
}

function epochLine(step: number): LogLine {
  return { kind: "epoch", step, epoch: step / 2, scores: { CIDEr: 0.25, "VQA accuracy": 0.5 } };
}

/** Three epochs of two steps, each with its scores. */
const lines: readonly LogLine[] = [1, 2, 3, 4, 5, 6].flatMap((step) =>
  step % 2 === 0 ? [stepLine(step), epochLine(step)] : [stepLine(step)],
);
const upTo = (step: number) => lines.filter((line) => line.step <= step);
const text = (some: readonly LogLine[]) => some.map((line) => `${JSON.stringify(line)}\n`).join("");

/** The lines of a log that resumes after a step from a file with this content; the file must have the same lines. */
function resumed(content: string | Uint8Array, step: number): readonly LogLine[] {
  writeFileSync(path, content);
  const log = new RunLog(path, step);
  assert.equal(readFileSync(path, "utf8"), text(log.lines));
  assert.ok(!existsSync(`${path}.part`));
  return log.lines;
}

describe("RunLog", () => {
  it("writes each line to disk at once", () => {
    const own = temporaryFolder();
    const log = new RunLog(join(own, "log.jsonl"), 0);
    assert.equal(readFileSync(join(own, "log.jsonl"), "utf8"), "");
    lines.forEach((line, index) => {
      log.add(line);
      assert.equal(readFileSync(join(own, "log.jsonl"), "utf8"), text(lines.slice(0, index + 1)));
    });
    assert.deepEqual(log.lines, lines);
    assert.deepEqual(readdirSync(own), ["log.jsonl"]);
  });

  for (const step of [0, 1, 2, 3, 6, 100]) {
    it(`resumes after step ${step} without the lines of later steps`, () => {
      assert.deepEqual(resumed(text(lines), step), upTo(step));
    });
  }

  it("drops only a truncated line and continues with complete lines", () => {
    const whole = Buffer.from(text(lines));
    const ends = lines.map((_, index) => Buffer.byteLength(text(lines.slice(0, index + 1))) - 1);
    for (let length = 0; length <= whole.length; length++) {
      const kept = ends.filter((end) => end <= length).length;
      assert.deepEqual(resumed(whole.subarray(0, length), 100), lines.slice(0, kept), `${length} bytes`);
      const log = new RunLog(path, 100);
      log.add(stepLine(7));
      assert.equal(readFileSync(path, "utf8"), text([...lines.slice(0, kept), stepLine(7)]));
    }
  });

  it("ends with the lines of an uninterrupted run, wherever it was killed", () => {
    const cut = fc.record({ from: fc.nat(6), length: fc.nat(text(lines).length) });
    fc.assert(
      fc.property(fc.array(cut, { maxLength: 4 }), (kills) => {
        writeFileSync(path, "");
        let done = 0;
        for (const { from, length } of [...kills, { from: 6, length: Number.POSITIVE_INFINITY }]) {
          const log = new RunLog(path, done);
          for (const line of lines.filter(({ step }) => step > done)) log.add(line);
          // A checkpoint is written after the lines of its steps, so the file can only be cut after them.
          const checkpoint = Math.max(done, from);
          const least = text(upTo(checkpoint)).length;
          writeFileSync(path, readFileSync(path, "utf8").slice(0, Math.max(least, length)));
          done = checkpoint;
        }
        assert.equal(readFileSync(path, "utf8"), text(lines));
      }),
    );
  });

  const foreign: readonly (readonly [what: string, line: string])[] = [
    ["an empty line", ""],
    ["no JSON", "epoch 1 is over"],
    ["no object", "17"],
    ["null", "null"],
    ["an unknown kind", '{"kind": "note", "step": 1}'],
    ["a step without its numbers", '{"kind": "step", "step": 1}'],
    [
      "a loss that is no number",
      text([stepLine(1)])
        .trim()
        .replace('"loss":3', '"loss":null'),
    ],
    [
      "a step that is no integer",
      text([stepLine(1)])
        .trim()
        .replace('"step":1', '"step":1.5'),
    ],
    [
      "scores that are no numbers",
      text([epochLine(2)])
        .trim()
        .replace("0.25", '"0.25"'),
    ],
  ];
  for (const [what, line] of foreign) {
    it(`drops only a line of ${what}`, () => {
      const [first, ...rest] = lines;
      assert.ok(first);
      assert.deepEqual(resumed(`${text([first])}${line}\n${text(rest)}`, 100), lines);
    });
  }

  it("opens a file with any content", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(9), (bytes, step) => {
        assert.deepEqual(resumed(Buffer.concat([Buffer.from(text(lines)), bytes]), step), upTo(step));
      }),
    );
  });
});
