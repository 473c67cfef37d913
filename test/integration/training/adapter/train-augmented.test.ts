import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import {
  buildModel,
  evaluateModel,
  load,
  namedScores,
  readEvaluationData,
  readTrainingConfig,
  trainModel,
} from "../../../../src/index.js";
import { makeMedia } from "../../../support/make-media.js";
import { severalModel } from "../../../support/several-model.js";
import { writeTrainingConfig } from "../../../support/training-config.js";

const cli = fileURLToPath(new URL("../../../../src/cli/main.js", import.meta.url));
const temporary = mkdtempSync(join(tmpdir(), "epalm-augmented-"));
after(() => rmSync(temporary, { recursive: true, force: true }));

const at = (name: string) => join(temporary, name);

const pictures = { randomResizedCrop: { scale: [0.5, 1] }, flip: 0.5, randAugment: { operations: 2, magnitude: 7 } };

/** Media of each modality, and all augmentations that apply to it. */
const kinds = {
  image: {
    ending: "png",
    make: (index: number) =>
      sharp(Buffer.from(`<svg width="40" height="30"><circle cx="${5 + 3 * index}" cy="12" r="9" fill="red"/></svg>`))
        .png()
        .toBuffer(),
    augment: pictures,
  },
  audio: {
    ending: "wav",
    make: (index: number) =>
      makeMedia("tone.wav", "-f", "lavfi", "-i", `sine=f=${300 + 50 * index}:d=0.5`, "-ar", "16000"),
    augment: { specAugment: { frequency: 8, time: 8 }, noise: true },
  },
  video: {
    ending: "mp4",
    make: (index: number) =>
      makeMedia("clip.mp4", "-f", "lavfi", "-i", `testsrc=s=${32 + 2 * index}x32:r=10:d=1`, "-c:v", "mpeg4"),
    augment: { ...pictures, randomFrames: true },
  },
} as const;

type Kind = keyof typeof kinds;

function config(name: string, kind: Kind, changes: object = {}): string {
  return writeTrainingConfig(temporary, name, {
    data: { train: { path: `${kind}.jsonl` } },
    adapter: { name: "same", injectedStates: 2, startLayer: 3, endLayer: 6 },
    optimizer: { learningRate: 0.02 },
    augment: kinds[kind].augment,
    epochs: 2,
    batchSize: 6,
    checkpointEvery: 1,
    ...changes,
  });
}

async function trained(name: string, kind: Kind, changes: object = {}): Promise<Buffer> {
  const { adapterFile } = await trainModel(readTrainingConfig(config(name, kind, changes)));
  return readFileSync(adapterFile);
}

function cachedStates(folder: string): number {
  if (!existsSync(at(folder))) return 0;
  const entries = readdirSync(at(folder), { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).length;
}

before(async () => {
  for (const [kind, { ending, make }] of Object.entries(kinds)) {
    const lines: object[] = [];
    for (let index = 0; index < 6; index++) {
      const file = `${kind}-${index}.${ending}`;
      writeFileSync(at(file), await make(index));
      lines.push({ [kind]: file, caption: [`number ${index}`, index % 2 === 0 ? "even" : "odd"] });
    }
    writeFileSync(at(`${kind}.jsonl`), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  }
  // With int8, captions would depend slightly on the other sequences of their batch.
  const plan = severalModel(at("model"));
  await buildModel({ ...plan, decoder: { ...plan.decoder, precision: "fp32" } });
});

describe("training with augmentations", () => {
  for (const kind of Object.keys(kinds) as Kind[]) {
    it(`gives the same weights after a stop on ${kind}, and caches no states`, async () => {
      const whole = await trained(`whole-${kind}`, kind);
      const path = config(`stopped-${kind}`, kind);
      const stop = new AbortController();
      const onStep = ({ step }: { step: number }) => {
        if (step === 2) stop.abort();
      };
      await assert.rejects(trainModel(readTrainingConfig(path), { signal: stop.signal, onStep }), { code: "aborted" });
      assert.deepEqual(await trained(`stopped-${kind}`, kind), whole);
      assert.equal(cachedStates(`whole-${kind}/states`), 0);
      if (kind === "image") assert.notDeepEqual(await trained("plain", kind, { augment: undefined }), whole);
    });
  }

  it("gives the same weights after kill -9", async () => {
    const changes = { epochs: 10 };
    const whole = await trained("unkilled", "image", changes);
    const path = config("killed", "image", changes);
    const child = spawn(process.execPath, [cli, "train", path], { stdio: "ignore" });
    const ended = once(child, "exit");
    const log = at("killed/log.jsonl");
    const steps = () => (existsSync(log) ? readFileSync(log, "utf8").split("\n").length - 1 : 0);
    for (let waited = 0; waited < 60_000 && child.exitCode === null && steps() < 4; waited += 5) await delay(5);
    child.kill("SIGKILL");
    await ended;
    assert.equal(child.signalCode, "SIGKILL");
    assert.deepEqual(await trained("killed", "image", changes), whole);
  });

  it("computes the states of a fixed number of augmented views once, separately for each setting", async () => {
    const changes = { augmentations: 2, cache: "shared" };
    const first = await trained("fixed", "image", changes);
    assert.equal(cachedStates("shared"), 6 * 2);
    assert.deepEqual(await trained("fixed-again", "image", changes), first);
    assert.equal(cachedStates("shared"), 6 * 2);
    await trained("other", "image", { ...changes, augment: { flip: 1 } });
    assert.equal(cachedStates("shared"), 6 * 2 * 2);
    await trained("audio-views", "audio", { augmentations: 1, cache: "shared" });
    assert.equal(cachedStates("shared"), 6 * 2 * 2 + 6);
  });

  it("does not augment media in evaluations", async () => {
    const data = { train: { path: "image.jsonl" }, validation: { path: "image.jsonl" } };
    const { adapter, scores } = await trainModel(readTrainingConfig(config("scored", "image", { data, epochs: 4 })));
    const model = await load(at("model"), { threads: 1 });
    try {
      await model.useAdapter("scored", adapter, "image");
      const { examples } = await readEvaluationData({ path: at("image.jsonl") });
      const evaluation = await evaluateModel(model, examples, { adapter: "scored" });
      assert.deepEqual(namedScores(evaluation.scores), scores);
      const states = await Promise.all([1, 2].map(() => model.encode(at("image-0.png"), { modality: "image" })));
      assert.deepEqual(states[0]?.states, states[1]?.states);
    } finally {
      await model.close();
    }
  });

  it("measures a whitening on unchanged media", async () => {
    await trained("whitened", "image", { whiten: true, epochs: 1 });
    assert.equal(cachedStates("whitened/states"), 6);
  });

  it("is rejected by the name of an augmentation of another modality before anything is computed", async () => {
    const cases = [
      ["audio", { augment: { flip: 0.5 } }, /^augment\.flip: expected an adapter for image or video, got audio$/],
      ["image", { augment: { noise: true } }, /^augment\.noise: expected an adapter for audio, got image$/],
      [
        "image",
        { augment: { randomFrames: true } },
        /^augment\.randomFrames: expected an adapter for video, got image$/,
      ],
      ["image", { mirror: true }, /^mirror: expected 'augment\.flip' instead of it together with 'augment', got true$/],
    ] as const;
    for (const [kind, changes, message] of cases) {
      const path = config("wrong", kind, changes);
      await assert.rejects(trainModel(readTrainingConfig(path)), { code: "invalid_option", message });
    }
    assert.ok(!existsSync(at("wrong")));
  });
});
