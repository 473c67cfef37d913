import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import sharp from "sharp";
import { decodeWav } from "../../../models/recipe/data/audio/wav.js";
import { type Candidate, type Slot, sampleSlots } from "../../../models/recipe/data/samples.js";
import { exampleQuestions } from "../../../models/recipe/describe-model.js";
import { at } from "../../../src/core/at.js";
import { BUNDLED_MODEL, load, type Model } from "../../../src/index.js";
import { readSampleNotes, SAMPLE_NOTES } from "../../../src/model/sample-notes.js";
import { SAMPLING_RATE } from "../../../src/preprocessing/sampling-rate.js";

const MAX_FOLDER_BYTES = 512 * 1024;

describe("candidates for samples", () => {
  const first = (slots: readonly Slot[], name: string): Candidate => {
    const found = slots.map((slot) => slot(0)).find((candidate) => candidate.name === name);
    assert.ok(found, name);
    return found;
  };

  it("show what their names say", async () => {
    const slots = await sampleSlots(["image"]);
    const bytes = await first(slots, "red-apple.jpg").bytes();
    const { data, info } = await sharp(bytes).raw().toBuffer({ resolveWithObject: true });
    assert.deepEqual([info.width, info.height], [320, 320]);
    // The apple is in the middle of a blue background.
    const pixel = (x: number, y: number) => Array.from(data.subarray((y * info.width + x) * 3).subarray(0, 3));
    const [red = 0, , blue = 0] = pixel(160, 175);
    const [groundRed = 0, , groundBlue = 0] = pixel(8, 8);
    assert.ok(red > blue && groundBlue > groundRed, `${pixel(160, 175)}; ${pixel(8, 8)}`);
  });

  it("contain three beeps with silence between them if the name says so", async () => {
    const bytes = await first(await sampleSlots(["audio"]), "three-fast-beeps.wav").bytes();
    const sound = decodeWav(Buffer.from(bytes));
    const part = SAMPLING_RATE / 100;
    const loud = Array.from({ length: Math.floor(sound.length / part) }, (_, index) =>
      sound.subarray(index * part, (index + 1) * part).some((value) => Math.abs(value) > 0.1),
    );
    assert.equal(loud.filter((is, index) => is && !loud[index - 1]).length, 3);
  });

  it("are the same for the same index and differ between indices", async () => {
    for (const slot of await sampleSlots(["image", "audio", "video"])) {
      assert.deepEqual(slot(3).captions, slot(3).captions);
      const captions = new Set([1, 2, 3, 4].map((index) => slot(index).captions[0]));
      assert.ok(captions.size > 1);
    }
  });

  it("know the answer to at least one example question each", async () => {
    for (const slot of await sampleSlots(["image", "audio", "video"])) {
      const { modality, questions } = slot(1);
      const asked = exampleQuestions[modality].map((question) => question.toLowerCase().replace("?", ""));
      assert.ok(questions.some(({ question }) => asked.includes(question)));
    }
  });
});

describe("the samples of the bundled model", () => {
  const folder = join(BUNDLED_MODEL, "samples");
  const notes = readSampleNotes(folder);
  let model: Model;
  before(async () => {
    model = await load(BUNDLED_MODEL, { threads: 1, checksums: false });
  });
  after(() => model.close());

  it("are few and small, and all but one are labelled as correct", () => {
    const names = readdirSync(folder).filter((name) => name !== SAMPLE_NOTES);
    assert.deepEqual(Object.keys(notes).toSorted(), names.toSorted());
    assert.equal(names.length, 10);
    assert.equal(Object.values(notes).filter(({ isCorrect }) => !isCorrect).length, 1);
    const bytes = names.reduce((sum, name) => sum + readFileSync(join(folder, name)).length, 0);
    assert.ok(bytes < MAX_FOLDER_BYTES, `${bytes} bytes`);
  });

  it("are captioned as their labels say", async () => {
    for (const [name, { expected, isCorrect }] of Object.entries(notes)) {
      const { text } = await model.caption(join(folder, name));
      assert.equal(text.trim() === expected, isCorrect, `${name}: ${text}`);
    }
  });

  it("are asked about in any spelling with the same answer", async () => {
    const names = Object.keys(notes).filter((name) => name.endsWith(".jpg"));
    const path = join(folder, at(names, 0));
    const { text: expected } = await model.vqa(path, "what color is the background");
    assert.notEqual(expected, "");
    for (const question of [
      "What colour is the background?",
      "WHAT COLOR IS THE BACKGROUND???",
      "Hi! Can you please tell me what colour the background is? Thanks!",
    ]) {
      const { text } = await model.vqa(path, question);
      assert.equal(text, expected, question);
    }
  });
});
