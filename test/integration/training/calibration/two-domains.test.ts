import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, describe, it } from "node:test";
import sharp from "sharp";
import {
  calibrateModel,
  load,
  loadAdapter,
  type Model,
  openModelFolder,
  readEvaluationData,
} from "../../../../src/index.js";
import { startServer } from "../../../support/running-server.js";
import { buildBareModel, type Domain, domainPicture, trainOnDiscs, writeDomain } from "../../../support/two-domains.js";

/** Images of each domain that the adapter has not been trained on. */
const TESTED = 60;

describe("an adapter that was trained on 200 examples of one domain", () => {
  const folder = mkdtempSync(join(tmpdir(), "epalm-domains-"));
  let path: string;
  let model: Model;

  before(async () => {
    path = await buildBareModel(folder);
    const { calibration } = await trainOnDiscs(folder);
    assert.deepEqual(calibration?.familiarity, { media: 200, from: "cross-fitting" });
    model = await load(path, { threads: 1 });
  });
  after(async () => {
    await model.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function unfamiliarShare(domain: Domain): Promise<number> {
    let count = 0;
    for (let index = 0; index < TESTED; index++) {
      const medium = await model.encode(await domainPicture(domain, 5000 + index));
      const { unfamiliar, familiarity = Number.NaN } = await medium.vqa("what is it?", { maxNewTokens: 1 });
      assert.ok(familiarity > 0 && familiarity <= 1, String(familiarity));
      if (unfamiliar) count++;
    }
    return count / TESTED;
  }

  it("flags media of another domain, and hardly any of its own", async () => {
    const other = await unfamiliarShare("stripes");
    const own = await unfamiliarShare("discs");
    assert.ok(other >= 0.9, `${other} of the other domain`);
    assert.ok(own <= 0.05, `${own} of its own domain`);
  });

  it("refuses unfamiliar media on request, before it generates anything", async () => {
    const medium = await domainPicture("stripes", 7000);
    await assert.rejects(model.vqa(medium, "what is it?", { refuseUnfamiliar: true }), {
      code: "unfamiliar",
      message: /^media: adapter 'discs' was not trained on media like this one/,
    });
    await model.vqa(await domainPicture("discs", 7000), "what is it?", { refuseUnfamiliar: true });
  });

  it("reports no familiarity without the medium", async () => {
    const { familiarity } = await model.vqa(await domainPicture("discs", 1), "what is it?", { textOnly: true });
    assert.equal(familiarity, undefined);
  });

  it("rejects a smallest confidence that it cannot compare", async () => {
    await assert.rejects(model.vqa(await domainPicture("discs", 1), "what is it?", { minConfidence: 0.5 }), {
      code: "invalid_option",
      message: /^minConfidence: expected an adapter with calibrated confidence/,
    });
  });

  it("reports what the medium contributes to an answer", async () => {
    const encoded = await model.encode(await domainPicture("discs", 3));
    const answer = await encoded.vqa("what is it?", { mediaGain: true, maxNewTokens: 3 });
    const ranked = await encoded.rank("what is it?", [answer.text, "a ball"], { mediaGain: true });
    const same = ranked.answers.find(({ index }) => index === 0);
    assert.ok(answer.mediaGain !== undefined && Math.abs(answer.mediaGain - (same?.mediaGain ?? 0)) < 1e-4);
    const blind = await encoded.vqa("what is it?", { mediaGain: true, textOnly: true, maxNewTokens: 3 });
    assert.ok(Math.abs(blind.mediaGain ?? 1) < 1e-6, "without the medium, it contributes nothing");
  });

  it("is served with familiarity, and with 422 if the service refuses unfamiliar media", async () => {
    const ask = async (url: string, domain: Domain) => {
      const body = new FormData();
      body.append("image", new Blob([new Uint8Array(await domainPicture(domain, 8000))]));
      body.append("question", "what is it?");
      body.append("max_tokens", "1");
      const response = await fetch(`${url}/vqa`, { method: "POST", body });
      return { status: response.status, json: (await response.json()) as Record<string, unknown> };
    };
    const open = await startServer({ models: { tiny: path } });
    const { status, json } = await ask(open.url, "stripes");
    assert.equal(status, 200);
    assert.equal(json.unfamiliar, true);
    const image = `data:image/png;base64,${(await domainPicture("stripes", 8000)).toString("base64")}`;
    const chat = await fetch(`${open.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        model: "tiny",
        messages: [
          {
            role: "user",
            content: [
              { type: "text", text: "what is it?" },
              { type: "image_url", image_url: { url: image } },
            ],
          },
        ],
      }),
    });
    const { epalm } = (await chat.json()) as { epalm: Record<string, unknown> };
    assert.equal(epalm.unfamiliar, true);
    assert.equal(epalm.familiarity, json.familiarity);
    const metrics = await (await fetch(`${open.url}/metrics`)).text();
    assert.match(metrics, /epalm_familiarity_count\{model="tiny",adapter="discs"\} 2/);
    const strict = await startServer({ models: { tiny: path }, refuseUnfamiliar: true });
    const refused = await ask(strict.url, "stripes");
    assert.deepEqual([refused.status, refused.json.code, refused.json.field], [422, "unfamiliar", "image"]);
    assert.equal((await ask(strict.url, "discs")).status, 200);
  });

  it("gets a calibrated confidence from labelled data, below which it abstains", async () => {
    const data = await writeDomain(folder, "labelled", { domain: "discs", first: 1000, count: 120 });
    const { examples } = await readEvaluationData({ path: data });
    const before = await loadAdapter(await openModelFolder(path), "discs");
    const { discs } = await calibrateModel(path, examples, { threads: 1 });
    const after = await loadAdapter(await openModelFolder(path), "discs");
    assert.deepEqual(after.tensors, before.tensors, "the adapter itself is unchanged");
    assert.deepEqual(discs?.familiarity, { media: 120, from: "cross-fitting" });
    const report = discs?.confidence.answers;
    assert.ok(report && report.examples === 120 && report.after <= Math.max(report.before, 0.1));
    await model.refreshAdapters();
    const medium = await domainPicture("discs", 9000);
    const pieces: string[] = [];
    const sure = await model.vqa(medium, "what is it?", { minConfidence: 0 });
    assert.ok(sure.confidence !== undefined && sure.abstained === undefined);
    const abstained = await model.vqa(medium, "what is it?", {
      minConfidence: 1,
      abstention: "Please ask a person.",
      onText: (piece) => pieces.push(piece),
    });
    assert.deepEqual([abstained.text, abstained.abstained], ["Please ask a person.", true]);
    assert.deepEqual(pieces, ["Please ask a person."]);
    const ranked = await model.rank(medium, "what is it?", ["a disc", "a red disc"]);
    assert.ok(ranked.answers.every(({ confidence = 2 }) => confidence >= 0 && confidence <= 1));
  });
});

describe("a training whose validation images almost equal training images", () => {
  it("names them in its result and its report", async () => {
    const folder = mkdtempSync(join(tmpdir(), "epalm-duplicates-"));
    try {
      await buildBareModel(folder);
      await writeDomain(folder, "validation", { domain: "discs", first: 3000, count: 6 });
      for (const index of [0, 1]) {
        // The same picture as that of the training, in another format.
        const image = await sharp(await domainPicture("discs", 40 + index))
          .webp({ lossless: true })
          .toBuffer();
        writeFileSync(join(folder, "validation", `${3000 + index}.png`), image);
      }
      const data = { train: { path: "train.jsonl" }, validation: { path: "validation.jsonl" } };
      const { calibration, reportFile } = await trainOnDiscs(folder, { data });
      const found = calibration?.nearDuplicates.map((pair) => [basename(pair.validation), basename(pair.training)]);
      assert.deepEqual(found, [
        ["3000.png", "40.png"],
        ["3001.png", "41.png"],
      ]);
      assert.match(readFileSync(reportFile, "utf8"), /2 validation media are almost the same as a training medium/);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe("an adapter with too few examples", () => {
  it("reports neither field, and the report says why", async () => {
    const folder = mkdtempSync(join(tmpdir(), "epalm-few-"));
    try {
      const path = await buildBareModel(folder);
      await writeDomain(folder, "few", { domain: "discs", first: 0, count: 20 });
      const { calibration, adapter } = await trainOnDiscs(folder, { data: { train: { path: "few.jsonl" } } });
      assert.equal(adapter.calibration, undefined);
      assert.match(calibration?.notes.join(" ") ?? "", /expected at least 100 different media/);
      const model = await load(path, { threads: 1 });
      const { familiarity, unfamiliar } = await model.vqa(await domainPicture("discs", 1), "what is it?");
      await model.close();
      assert.deepEqual([familiarity, unfamiliar], [undefined, undefined]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
