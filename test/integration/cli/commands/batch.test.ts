import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { randomStreams } from "../../../../src/core/random.js";
import { epalmProcess } from "../../../support/cli-process.js";
import { buildTinyModel, picture, temporaryFolder } from "../../../support/tiny-model.js";

const MAIN = fileURLToPath(new URL("../../../../src/cli/main.js", import.meta.url));
const LINES = 2000;
const KILLS = 10;

const folder = temporaryFolder();
const input = join(folder, "requests.jsonl");
const output = join(folder, "answers.jsonl");
let args: string[];
before(async () => {
  const model = await buildTinyModel();
  const url = `data:image/png;base64,${(await picture()).toString("base64")}`;
  const lines = Array.from({ length: LINES }, (_, at) => {
    const content = [
      { type: "text", text: `Is it number ${at}?` },
      { type: "image_url", image_url: { url } },
    ];
    const body = { model: "tiny", messages: [{ role: "user", content }], max_tokens: 12 };
    return `${JSON.stringify({ custom_id: `id-${at}`, method: "POST", url: "/v1/chat/completions", body })}\n`;
  });
  writeFileSync(input, lines.join(""));
  args = ["batch", input, "--output", output, "--model", `tiny=${model}`, "--threads", "1"];
});

function sizeOf(path: string): number {
  return existsSync(path) ? statSync(path).size : 0;
}

/** Ends a run at a random moment after it has written its first answers. */
async function killedRun(milliseconds: number): Promise<void> {
  const before = sizeOf(output);
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: "ignore" });
  const exited = once(child, "exit");
  while (sizeOf(output) <= before && child.exitCode === null) await delay(2);
  await delay(milliseconds);
  child.kill("SIGKILL");
  await exited;
}

it("a batch that is killed at random moments ends with exactly one line per request", async () => {
  const [random = Math.random] = randomStreams(5, 1);
  for (let kill = 0; kill < KILLS; kill++) await killedRun(500 * random());
  const { code, stderr } = await epalmProcess(args);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /^2,000 of 2,000 lines are answered, [1-9][\d,]* of them by earlier runs\n$/);
  const lines = readFileSync(output, "utf8").split("\n");
  assert.equal(lines.pop(), "");
  const answers = lines.map((line) => JSON.parse(line));
  assert.equal(answers.length, LINES);
  assert.equal(new Set(answers.map(({ custom_id }) => custom_id)).size, LINES);
  for (const { response, error } of answers) assert.deepEqual([response.status_code, error], [200, null]);
});
