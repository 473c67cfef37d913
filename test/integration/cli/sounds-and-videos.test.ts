import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import sharp from "sharp";
import { buildModel } from "../../../src/index.js";
import { buildTiny, epalm, temporaryFolder } from "../../support/cli-process.js";
import { makeMedia, threeColours, tone } from "../../support/make-media.js";
import { severalModel } from "../../support/several-model.js";

/* Files of several modalities in one command, and models without an image encoder; see also `media.test.ts`. */

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const model = at("senses");
const few = ["--model", model, "--max-tokens", "4", "--threads", "1"];
const [picture, sound, clip] = [at("a.png"), at("b.flac"), at("c.mp4")];

before(async () => {
  await sharp({ create: { width: 40, height: 30, channels: 3, background: "teal" } })
    .png()
    .toFile(picture);
  writeFileSync(sound, makeMedia("b.flac", ...tone));
  const both = [...threeColours, ...tone.slice(0, 4), "-shortest"];
  writeFileSync(clip, makeMedia("c.mp4", ...both, "-c:v", "mpeg4", "-c:a", "aac"));
  await buildModel(severalModel(model));
});

function linesOf(text: string) {
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}

/** File, modality, and adapter or error code of each line. */
function summary(lines: readonly Record<string, unknown>[]) {
  return lines.map(({ file, modality, adapter, error }) => [
    file,
    modality,
    adapter ?? (error as { code: string }).code,
  ]);
}

describe("files of several modalities", { concurrency: true }, () => {
  it("are processed even if one is damaged or has no adapter", async () => {
    const broken = at("broken.wav");
    writeFileSync(broken, makeMedia("e.wav", ...tone).subarray(0, 30));
    const { code, stdout, stderr } = await epalm(["caption", clip, broken, sound, picture, ...few, "--jsonl"]);
    assert.equal(code, 1);
    assert.deepEqual(summary(linesOf(stdout)), [
      [clip, undefined, "not_found"],
      [broken, undefined, "invalid_media"],
      [sound, "audio", "sounds"],
      [picture, "image", "pictures"],
    ]);
    assert.match(stderr, /^epalm: .*c\.mp4: the model has no video adapter for the task 'caption'\n/);
    assert.match(stderr, /broken\.wav: cannot be decoded: /);
  });

  it("are distinguished by modality in a file of answers", async () => {
    const output = at("answers.jsonl");
    const ask = (...more: string[]) => epalm(["vqa", clip, "-q", "what?", ...few, ...more, "-o", output]);
    const unheard = await ask("--modality", "audio");
    assert.match(unheard.stderr, /c\.mp4: the model has no audio adapter for the task 'vqa'\n$/);
    assert.equal((await ask()).code, 0);
    assert.match((await ask("--modality", "video")).stderr, /^1 of 1 were already answered\n$/);
    assert.equal((await ask("--modality", "audio")).code, 1);
    assert.deepEqual(summary(linesOf(readFileSync(output, "utf8"))), [
      [clip, "video", "clips"],
      [clip, "audio", "not_found"],
    ]);
  });

  it("are rejected one by one by a model that does not accept them", async () => {
    const tiny = at("tiny");
    assert.equal((await buildTiny(tiny)).code, 0);
    const asked = ["--model", tiny, "--max-tokens", "4", "--threads", "1"];
    const one = await epalm(["caption", sound, picture, ...asked, "--jsonl"]);
    assert.deepEqual(summary(linesOf(one.stdout)), [
      [sound, undefined, "unsupported_media"],
      [picture, "image", "a"],
    ]);
    assert.match(one.stderr, /^epalm: .*b\.flac: expected [^\n]+\n$/);
    const told = await epalm(["caption", sound, ...asked, "--modality", "audio"]);
    assert.deepEqual([told.code, told.stderr], [2, "epalm: --modality: expected image, got audio\n"]);
    const questions = at("deaf.jsonl");
    writeFileSync(questions, '{"audio":"b.flac","question":"what?"}\n{"image":"a.png","question":"what?"}\n');
    const deaf = await epalm(["vqa", "--questions", questions, ...asked, "--jsonl"]);
    assert.deepEqual([deaf.code, linesOf(deaf.stdout).length], [1, 2]);
    assert.match(deaf.stderr, /b\.flac: expected image, which the model accepts, got audio\n$/);
    const twice = await epalm(["vqa", "--questions", questions, "--modality", "audio", ...asked]);
    assert.match(twice.stderr, /cannot be used with option '--modality/);
  });

  it("are scored with an adapter for their modality", async () => {
    const data = at("sounds.jsonl");
    writeFileSync(data, '{"audio":"b.flac","caption":"a tone"}\n{"audio":"c.mp4","caption":"a tone"}\n');
    const file = at("senses/adapters/sounds.safetensors");
    const args = ["eval", data, ...few, "--json", "--predictions", at("predictions.jsonl")];
    const { code, stdout, stderr } = await epalm([...args, "--adapter-file", file]);
    assert.equal(code, 0, stderr);
    assert.equal(JSON.parse(stdout).examples, 2);
    const [line] = linesOf(readFileSync(at("predictions.jsonl"), "utf8"));
    assert.deepEqual([line.modality, line.media], ["audio", sound]);
    const other = await epalm([...args, "--adapter", "clips"]);
    assert.match(other.stderr, /sounds\.jsonl:1: expected 'video', which the adapter is for, got 'audio'/);
    const untaken = await epalm([...args, "--modality", "image"]);
    assert.match(untaken.stderr, /sounds\.jsonl:1: expected 'image', which the adapter is for, got 'audio'/);
  });

  for (const modality of ["audio", "video"]) {
    it(`are generated to measure an encoder for ${modality}`, async () => {
      const args = ["--modality", modality, "--threads", "1", "--json"];
      const bench = await epalm(["bench", "-m", model, "--rounds", "1", "--new-tokens", "4", ...args]);
      assert.equal(bench.code, 0, bench.stderr);
      assert.equal(JSON.parse(bench.stdout).model.encoder.modality, modality);
      const measured = await epalm(["measure", "-m", model, "--against", model, ...args]);
      assert.equal(measured.code, 0, measured.stderr);
      const { model: own, media } = JSON.parse(measured.stdout);
      assert.equal(own.modality, modality);
      assert.ok(Math.abs(media[0].minCosine - 1) < 1e-9);
    });
  }
});
