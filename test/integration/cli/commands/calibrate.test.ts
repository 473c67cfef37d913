import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { EpalmClient } from "../../../../src/sdk/index.js";
import { epalm } from "../../../support/cli-process.js";
import { startServer } from "../../../support/running-server.js";
import { buildBareModel, domainPicture, trainOnDiscs, writeDomain } from "../../../support/two-domains.js";

describe("epalm calibrate", () => {
  const folder = mkdtempSync(join(tmpdir(), "epalm-calibrate-"));
  const [stripes, disc] = [join(folder, "stripes.png"), join(folder, "disc.png")];
  let model: string;

  before(async () => {
    model = await buildBareModel(folder);
    await trainOnDiscs(folder, { calibrate: false });
    writeFileSync(stripes, await domainPicture("stripes", 1));
    writeFileSync(disc, await domainPicture("discs", 4000));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const ask = (...more: string[]) => epalm(["vqa", ...more, "-q", "what is it?", "-m", model, "--max-tokens", "2"]);

  it("lets an adapter report its familiarity and confidence, which it did not before", async () => {
    const before = JSON.parse((await ask(stripes, "--json")).stdout);
    assert.deepEqual([before.familiarity, before.unfamiliar, before.confidence], [undefined, undefined, undefined]);
    const data = await writeDomain(folder, "validation", { domain: "discs", first: 1000, count: 120 });
    const { code, stdout } = await epalm(["calibrate", model, "--data", data]);
    assert.equal(code, 0);
    assert.match(stdout, /adapter discs\n {2}familiarity: measured on 120 training media, by cross-fitting/);
    assert.match(stdout, /confidence of answers \(\w+, 120 examples\): calibration error/);
    const later = JSON.parse((await ask(stripes, "--json")).stdout);
    assert.equal(later.unfamiliar, true);
    assert.ok(later.familiarity < 0.01 && later.confidence >= 0);
    assert.deepEqual(later.texts[0].tokens, before.texts[0].tokens, "the answer is the same");
    assert.match(
      (await epalm(["inspect", model])).stdout,
      /calibrated: familiarity, from 120 media; confidence of answers/,
    );
  });

  it("makes a line on standard error possible, a refusal, and an abstention", async () => {
    const warned = await ask(stripes);
    assert.match(warned.stderr, /stripes\.png: adapter 'discs' has not seen media like this one/);
    assert.equal((await ask(disc)).stderr, "");
    const refused = await ask(stripes, disc, "--refuse-unfamiliar");
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /stripes\.png: adapter 'discs' was not trained on media like this one/);
    assert.match(refused.stdout, /disc\.png\t/, "the other file is answered");
    const abstained = await ask(disc, "--min-confidence", "1", "--abstention", "ask a person");
    assert.equal(abstained.stdout, "ask a person\n");
  });

  it("gives the client of a service the same fields", async () => {
    const { url } = await startServer({ models: { tiny: model } });
    const client = new EpalmClient({ baseUrl: url });
    const local = JSON.parse((await ask(disc, "--json", "--media-gain")).stdout);
    const options = { maxNewTokens: 2, mediaGain: true };
    const answer = await client.vqa(disc, "what is it?", options);
    assert.deepEqual([answer.unfamiliar, answer.familiarity], [false, local.familiarity]);
    assert.ok(Math.abs((answer.confidence ?? 0) - local.confidence) < 1e-4);
    assert.ok(Math.abs((answer.mediaGain ?? Number.NaN) - local.mediaGain) < 1e-3);
    const ranking = await client.rank(disc, "what is it?", ["a disc", "a red disc"], { mediaGain: true });
    assert.ok(
      ranking.answers.every(({ mediaGain, confidence }) => mediaGain !== undefined && confidence !== undefined),
    );
    const abstained = await client.vqa(disc, "what is it?", { ...options, minConfidence: 1 });
    assert.deepEqual([abstained.text, abstained.abstained], ["I do not know.", true]);
    const code = "unfamiliar";
    await assert.rejects(client.vqa(stripes, "what is it?", { refuseUnfamiliar: true }), { code, status: 422 });
  });

  it("names the option if there are no examples for an adapter", async () => {
    const { code, stderr } = await epalm(["calibrate", model]);
    assert.equal(code, 2);
    assert.match(stderr, /--data <file>/);
  });
});
