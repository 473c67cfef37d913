import assert from "node:assert/strict";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { buildTiny, epalm, epalmProcess, temporaryFolder } from "../../support/cli-process.js";

const model = join(temporaryFolder(), "tiny");

before(async () => {
  assert.equal((await buildTiny(model)).code, 0);
});

/** All numbers in a report with their paths. */
function numbersIn(value: unknown, path = ""): [string, number][] {
  if (typeof value === "number") return [[path, value]];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) => numbersIn(item, `${path}.${key}`));
}

describe("epalm bench", { concurrency: true }, () => {
  it("measures every stage", async () => {
    const args = ["bench", "-m", model, "--rounds", "2", "--new-tokens", "8", "--together", "3", "--threads", "1"];
    const { code, stdout } = await epalmProcess([...args, "--json"]);
    assert.equal(code, 0);
    const report = JSON.parse(stdout);
    assert.equal(report.model.name, "tiny");
    assert.deepEqual([report.rounds, report.newTokens, report.together], [2, 8, 3]);
    for (const [path, value] of numbersIn(report)) assert.ok(Number.isFinite(value) && value > 0, path);
    const { milliseconds, tokensPerSecond, promptTokens } = report;
    assert.equal(tokensPerSecond.decoding, 1000 / milliseconds.token);
    assert.equal(tokensPerSecond.prefill, (1000 * promptTokens) / milliseconds.prefill);
    const { stdout: text } = await epalm(args);
    for (const row of ["load", "image", "encoder", "prefill", "per token", "3 concurrent requests", "peak memory"]) {
      assert.match(text, new RegExp(`^${row} .*\\d`, "m"));
    }
  });

  it("generates no more tokens than the model has positions", async () => {
    const { code, stdout, stderr } = await epalm([
      "bench",
      "-m",
      model,
      "--rounds",
      "1",
      "--new-tokens",
      "4096",
      "--json",
    ]);
    assert.equal(code, 0, stderr);
    assert.ok(JSON.parse(stdout).newTokens < 4096);
  });
});
