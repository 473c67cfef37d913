import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { hasHeldOutCombination, randomAudioScene } from "../../../../../models/recipe/data/audio/audio-scene.js";
import { writeAudioSet } from "../../../../../models/recipe/data/audio/audio-sets.js";
import { audioLabels } from "../../../../../models/recipe/data/audio/describe-audio.js";
import { randomStreams } from "../../../../../src/core/random.js";
import { decodeAudio } from "../../../../../src/media/decode/audio/decode-audio.js";
import { readDataSet } from "../../../../../src/training/data/read-data-set.js";

const folder = mkdtempSync(join(tmpdir(), "epalm-sounds-"));
after(() => rmSync(folder, { recursive: true, force: true }));

describe("a set of audio files", () => {
  const options = {
    folder: join(folder, "one"),
    count: 6,
    timbre: "training",
    combinations: "training",
    seed: 5,
  } as const;

  it("can be read by the training and has files of 16 kHz and 2 to 2.56 seconds", async () => {
    await writeAudioSet(options);
    const read = (name: string) => readDataSet({ path: join(options.folder, name) }, { modalities: ["audio"] });
    const [captions, questions] = [await read("captions.jsonl"), await read("questions.jsonl")];
    assert.deepEqual([captions.examples.length, questions.examples.length], [6, 18]);
    for (const { media } of captions.examples) {
      assert.equal(media.modality, "audio");
      const { data, sampleRate } = await decodeAudio(media.path);
      assert.equal(sampleRate, 16_000);
      assert.ok(data.length > 2 * sampleRate && data.length < 2.56 * sampleRate, `${data.length} samples`);
      assert.ok(data.some((value) => Math.abs(value) > 0.01));
    }
  });

  it("is the same when it is written again or resumed", async () => {
    const again = { ...options, folder: join(folder, "two") };
    await writeAudioSet(again);
    unlinkSync(join(again.folder, "sounds/000003.wav"));
    await writeAudioSet(again);
    const names = ["captions.jsonl", "questions.jsonl", "question-types.jsonl", "labels.jsonl"];
    const sounds = readdirSync(join(options.folder, "sounds")).map((name) => join("sounds", name));
    assert.equal(sounds.length, 6);
    for (const name of [...names, ...sounds]) {
      const read = (root: string) => readFileSync(join(root, name));
      assert.ok(read(options.folder).equals(read(again.folder)), name);
    }
  });
});

describe("held-out combinations", () => {
  const scenes = (combinations: "training" | "held-out") =>
    Array.from({ length: 3000 }, (_, seed) => {
      const [random = Math.random] = randomStreams(seed, 1);
      return randomAudioScene(random, combinations);
    });

  it("occur in every held-out scene and in no training scene", () => {
    assert.ok(scenes("held-out").every(hasHeldOutCombination));
    assert.ok(!scenes("training").some(hasHeldOutCombination));
  });

  it("consist of labels that occur in training", () => {
    const labels = (combinations: "training" | "held-out") =>
      new Set(
        scenes(combinations).flatMap((scene) =>
          Object.entries(audioLabels(scene)).map(([attribute, label]) => `${attribute}: ${label}`),
        ),
      );
    const known = labels("training");
    for (const label of labels("held-out")) assert.ok(known.has(label), label);
  });
});
