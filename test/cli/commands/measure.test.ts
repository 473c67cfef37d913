import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { buildTiny, epalm, epalmProcess, temporaryFolder } from "../../support/cli-process.js";

describe("epalm measure", { concurrency: true }, () => {
  const folder = temporaryFolder();
  const [exact, small] = [join(folder, "exact"), join(folder, "small")];
  before(async () => {
    await buildTiny(exact);
    await buildTiny(small, "--precision", "int8");
  });

  it("finds no difference between a model and itself", async () => {
    const { code, stdout, stderr } = await epalm(["measure", "-m", exact, "--against", exact, "--json"]);
    assert.equal(code, 0, stderr);
    const { total, media, texts } = JSON.parse(stdout);
    assert.equal(total.largestDifference, 0);
    assert.equal(total.logProb, total.againstLogProb);
    assert.ok(texts.length >= 5);
    assert.ok(Math.abs(media[0].minCosine - 1) < 1e-9);
  });

  it("measures the effect of a lower precision on given texts", async () => {
    const texts = join(folder, "texts.txt");
    writeFileSync(texts, "a red apple\r\n\r\ntwo dogs run\n");
    const args = ["measure", "-m", small, "--against", exact, "--texts", texts, "--threads", "1"];
    const { stdout } = await epalmProcess([...args, "--json"]);
    const report = JSON.parse(stdout);
    assert.deepEqual(
      report.texts.map(({ text }: { text: string }) => text),
      ["a red apple", "two dogs run"],
    );
    assert.ok(report.total.largestDifference > 0);
    assert.ok(report.media[0].minCosine < 1 && report.media[0].minCosine > 0.9);

    const table = await epalm(args);
    assert.match(table.stdout, /^image encoder +int8 +fp32$/m);
    assert.match(table.stdout, /^log-probability of 2 texts( +-?[\d.]+){3}$/m);
  });

  it("rejects a missing and an empty file of texts", async () => {
    const args = ["measure", "-m", exact, "--against", exact, "--texts"];
    const missing = await epalm([...args, "nowhere.txt"]);
    assert.deepEqual([missing.code, missing.stderr], [1, "epalm: --texts: nowhere.txt: no such file\n"]);
    const empty = join(folder, "empty.txt");
    writeFileSync(empty, "\n\n");
    const silent = await epalm([...args, empty]);
    assert.equal(silent.code, 2);
    assert.match(silent.stderr, /expected one text per line, got an empty file/);
  });
});
