import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import sharp from "sharp";
import { buildTiny, epalm, epalmProcess, temporaryFolder } from "../../support/cli-process.js";

describe("epalm train and epalm eval", () => {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  const settings = {
    model: "model",
    output: "run",
    data: { train: { path: "data.jsonl" }, validation: { path: "data.jsonl" } },
    adapter: { name: "mine", injectedStates: 3, startLayer: 3, endLayer: 6 },
    epochs: 2,
    batchSize: 2,
  };

  before(async () => {
    await buildTiny(at("model"));
    const create = { width: 20, height: 20, channels: 3 as const, background: "red" };
    await sharp({ create }).png().toFile(at("red.png"));
    const lines = [
      { image: "red.png", caption: "all red" },
      { image: "red.png", question: "what colour?", answer: ["red", "red", "dark red"] },
    ];
    writeFileSync(at("data.jsonl"), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    writeFileSync(at("config.json"), JSON.stringify(settings));
  });

  it("trains, reports the parameters, and answers with the new adapter", async () => {
    const { code, stdout, stderr } = await epalmProcess(["train", at("config.json")]);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /2 training examples \(image\), 2 validation examples/);
    assert.match(stderr, /trained: [\d,]+ of [\d,]+ parameters, [\d.]+ %/);
    assert.match(stderr, /epoch 2: CIDEr/);
    assert.match(stdout, /report {2}.*report\.html/);
    const hint = `-m ${at("model")} --adapter mine`;
    assert.ok(
      stdout.endsWith(`to use it: epalm caption FILE ${hint}\nto use it: epalm vqa FILE -q QUESTION ${hint}\n`),
      stdout,
    );
    assert.ok(existsSync(at("run/report.html")));
    const answer = await epalm(["caption", at("red.png"), "-m", at("model"), "--adapter", "mine"]);
    assert.equal(answer.code, 0, answer.stderr);
  });

  it("names the task of the adapter in its last line, and repeats the result of a finished run", async () => {
    for (const [task, command] of [
      ["vqa", "vqa FILE -q QUESTION"],
      ["caption", "caption FILE"],
    ] as const) {
      writeFileSync(at("task.json"), JSON.stringify({ ...settings, adapter: { ...settings.adapter, tasks: [task] } }));
      const { code, stdout, stderr } = await epalm(["train", at("task.json")]);
      assert.equal(code, 0, stderr);
      assert.doesNotMatch(stderr, /epoch/);
      assert.equal(stdout.trimEnd().split("\n").at(-1), `to use it: epalm ${command} -m ${at("model")} --adapter mine`);
    }
  });

  it("replaces an installed adapter only on request, and says which epoch was kept", async () => {
    const kept = { ...settings, output: "kept", seed: 3, keep: "best", score: "accuracy" };
    writeFileSync(at("kept.json"), JSON.stringify(kept));
    const refused = await epalm(["train", at("kept.json")]);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /already has an adapter 'mine': choose another name, or set 'replace: true'\n$/);
    const { code, stdout, stderr } = await epalm(["train", at("kept.json"), "--replace"]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^kept {4}epoch [12]: .*VQA accuracy/m);
    assert.ok(existsSync(at("kept/adapter-last.safetensors")));
  });

  it("scores a data set, also as a text-only baseline, and writes predictions", async () => {
    const args = ["eval", at("data.jsonl"), "-m", at("model"), "--adapter", "a", "--json"];
    const seeing = await epalmProcess([...args, "--predictions", at("seen.jsonl")]);
    assert.equal(seeing.code, 0, seeing.stderr);
    const { examples, scores, intervals, groups, answers } = JSON.parse(seeing.stdout);
    assert.equal(intervals["VQA accuracy"].mean, scores["VQA accuracy"]);
    assert.deepEqual([groups, answers[0].expected + answers[0].answered > 0], [[], true]);
    assert.equal(examples, 2);
    assert.ok(scores["VQA accuracy"] >= 0 && scores["BLEU-4"] >= 0);
    const lines = readFileSync(at("seen.jsonl"), "utf8").trimEnd().split("\n");
    assert.deepEqual(
      lines.map((line) => JSON.parse(line).kind),
      ["caption", "vqa"],
    );
    const blind = await epalm([...args, "--blind"]);
    assert.equal(blind.code, 0, blind.stderr);
    const [first = ""] = readFileSync(at("data.jsonl"), "utf8").split("\n");
    writeFileSync(at("grouped.jsonl"), `${JSON.stringify({ ...JSON.parse(first), group: "at night" })}\n${first}\n`);
    const limited = await epalm(["eval", at("grouped.jsonl"), "-m", at("model"), "--limit", "1"]);
    assert.match(limited.stdout, /^examples +1$/m);
    assert.match(limited.stdout, /^CIDEr +\d\.\d{4} +\(\d\.\d{4} to \d\.\d{4}\)$/m);
    assert.match(limited.stdout, /^at night +\d\.\d{4} \(\d\.\d{4} to \d\.\d{4}\), n 1$/m);
  });

  it("scores a public data set in its official format with its own metric", async () => {
    const questions = { 1: { imageId: "red", question: "What colour?", answer: "red" } };
    writeFileSync(
      at("gqa.json"),
      JSON.stringify({ ...questions, 2: { imageId: "gone", question: "Is it?", answer: "no" } }),
    );
    writeFileSync(at("red.jpg"), readFileSync(at("red.png")));
    const args = ["eval", at("gqa.json"), "--format", "gqa", "--media", folder, "-m", at("model"), "--json"];
    const { code, stdout, stderr } = await epalm([...args, "--skip-bad"]);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /invalid examples skipped: 1\n.*gqa\.json: question 2: 'image': .*gone\.jpg: no such file/);
    const { examples, scores } = JSON.parse(stdout);
    assert.deepEqual([examples, Object.keys(scores)], [1, ["exact match"]]);
    const split = await epalm([...args, "--split", "train"]);
    assert.equal(split.code, 2);
    assert.match(split.stderr, /'split' does not apply to gqa/);
  });

  it("reports faults in the config and the data before it computes anything", async () => {
    writeFileSync(at("odd.json"), JSON.stringify({ ...settings, epoch: 2 }));
    const odd = await epalmProcess(["train", at("odd.json")]);
    assert.equal(odd.code, 2, odd.stderr);
    assert.match(odd.stderr, /odd\.json: .*"?epoch"?/);
    writeFileSync(at("bad.jsonl"), '{"image": "red.png", "caption": "x"}\n{"image": "gone.png", "caption": "x"}\n');
    writeFileSync(
      at("bad.json"),
      JSON.stringify({ ...settings, output: "bad", install: false, data: { train: { path: "bad.jsonl" } } }),
    );
    const bad = await epalm(["train", at("bad.json")]);
    assert.notEqual(bad.code, 0);
    assert.match(bad.stderr, /bad\.jsonl:2: 'image': .*gone\.png: no such file/);
    assert.ok(!existsSync(at("bad")));
    const skipping = await epalm(["eval", at("bad.jsonl"), "-m", at("model"), "--skip-bad"]);
    assert.equal(skipping.code, 0, skipping.stderr);
    assert.match(skipping.stderr, /invalid examples skipped: 1\n.*bad\.jsonl:2/);
  });
});
