import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { clsSettings } from "../../../src/adapter/adapter.js";
import { injectionPlan } from "../../../src/adapter/injection-plan.js";
import type { Modality } from "../../../src/core/modality.js";
import type { AugmentSettings } from "../../../src/media/augment/augment-settings.js";
import { adapterSettingsOf, readTrainingConfig } from "../../../src/training/adapter/config.js";

const FOLDER = "recipes";

/** Layers of OPT-2.7B. */
const LAYERS = 32;

/** What differs between the published files: configs/{image,video,audio} and run_scripts/float32 of mshukor/eP-ALM. */
const published: Readonly<Record<string, { modality: Modality; epochs: number; textsPerStep: number }>> = {
  "audiocaps.yaml": { modality: "audio", epochs: 30, textsPerStep: 32 },
  "coco-captions.yaml": { modality: "image", epochs: 8, textsPerStep: 16 },
  "gqa.yaml": { modality: "image", epochs: 8, textsPerStep: 256 },
  "msr-vtt-captions.yaml": { modality: "video", epochs: 26, textsPerStep: 64 },
  "msr-vtt-qa.yaml": { modality: "video", epochs: 26, textsPerStep: 32 },
  "msvd-qa.yaml": { modality: "video", epochs: 26, textsPerStep: 32 },
  "vqa-v2.yaml": { modality: "image", epochs: 8, textsPerStep: 256 },
};

const pictures = {
  randomResizedCrop: { scale: [0.5, 1] as [number, number] },
  flip: 0.5,
  randAugment: { operations: 2, magnitude: 7 },
};
const augmentations: Readonly<Record<Modality, AugmentSettings>> = {
  image: pictures,
  audio: { specAugment: { frequency: 24, time: 96 } },
  video: { ...pictures, randomFrames: true },
};

describe("the published recipes", () => {
  it("are the files of the folder, each with a row in its README", () => {
    const files = readdirSync(FOLDER).filter((name) => name.endsWith(".yaml"));
    assert.deepEqual(files.toSorted(), Object.keys(published));
    const readme = readFileSync(join(FOLDER, "README.md"), "utf8");
    for (const name of files) assert.ok(readme.includes(`[${name}](${name})`), name);
  });

  for (const [name, { modality, epochs, textsPerStep }] of Object.entries(published)) {
    it(`${name} is a valid config with the published settings`, () => {
      const config = readTrainingConfig(join(FOLDER, name));
      const { adapter, optimizer, schedule, loss } = config;
      assert.equal(adapter.modality, modality);
      assert.equal(config.epochs, epochs);
      assert.equal(config.batchSize * config.accumulation, textsPerStep);
      assert.deepEqual(
        [adapter.injectedStates, adapter.startLayer, adapter.endLayer, adapter.promptLength],
        [6, 19, 31, 10],
      );
      assert.deepEqual(
        [adapter.sharedConnector, adapter.promptForm, adapter.perceptionSees],
        [false, "mlp", "everything"],
      );
      assert.deepEqual([loss.on, loss.scale], ["text", 0.1]);
      assert.deepEqual(
        [optimizer.learningRate, optimizer.promptLearningRate, optimizer.weightDecay],
        [2e-5, 1e-5, 0.02],
      );
      assert.deepEqual([schedule.warmupEpochs, schedule.startShare, schedule.endShare], [4, 0.5, 0.05]);
      assert.equal(injectionPlan(clsSettings(adapterSettingsOf(config, LAYERS), "recipe"), LAYERS).cacheable, true);
      assert.deepEqual(config.augment, augmentations[modality]);
      assert.equal(config.augmentations, 0);
    });
  }
});
