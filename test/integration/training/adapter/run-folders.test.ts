/** Runs that continue in moved folders, that keep their best epoch, and that must not replace other adapters. */
import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import sharp from "sharp";
import {
  buildModel,
  evaluateModel,
  load,
  namedScores,
  readAdapter,
  readEvaluationData,
  readManifest,
  readTrainingConfig,
  type TrainHooks,
  trainModel,
} from "../../../../src/index.js";
import { writeTrainingConfig } from "../../../support/training-config.js";

const golden = "test/fixtures/goldens/opt-shared-1token";
const temporary = mkdtempSync(join(tmpdir(), "epalm-runs-"));
after(() => rmSync(temporary, { recursive: true, force: true }));
const at = (...names: string[]) => join(temporary, ...names);

const colours = ["red", "green", "blue"] as const;

/** A config file in a folder that has data and a model. */
function config(place: string, output: string, changes: object = {}): string {
  const adapter = { name: "colours", injectedStates: 3, startLayer: 3, endLayer: 6 };
  return writeTrainingConfig(at(place), output, { adapter, epochs: 2, ...changes });
}

async function drawImage(path: string, background: string, width: number): Promise<void> {
  await sharp({ create: { width, height: 16, channels: 3, background } })
    .png()
    .toFile(path);
}

const train = (path: string, hooks: TrainHooks = {}) => trainModel(readTrainingConfig(path), hooks);

/** Stops a run after a step. */
async function trainUntil(path: string, last: number): Promise<void> {
  const stopping = new AbortController();
  const onStep = ({ step }: { step: number }) => step === last && stopping.abort();
  await assert.rejects(train(path, { signal: stopping.signal, onStep }), { code: "aborted" });
}

const bytes = (...names: string[]) => readFileSync(at(...names));

before(async () => {
  mkdirSync(at("first", "images"), { recursive: true });
  const lines: string[] = [];
  for (let index = 0; index < 12; index++) {
    const colour = colours[index % 3] ?? "red";
    const image = `images/${index}.png`;
    await drawImage(at("first", image), colour, 12 + index);
    lines.push(JSON.stringify({ image, caption: [`${colour} square`, `a ${colour} thing`] }));
  }
  writeFileSync(at("first", "train.jsonl"), `${lines.slice(0, 8).join("\n")}\n`);
  writeFileSync(at("first", "validation.jsonl"), `${lines.slice(8).join("\n")}\n`);
  await buildModel({
    encoder: { path: join(golden, "encoder"), given: "encoder", precision: "fp32", preprocessing: "source" },
    decoder: { path: join(golden, "decoder"), given: "decoder", precision: "fp32" },
    adapters: [],
    output: at("first", "model"),
  });
});

describe("a run whose folders have moved", () => {
  before(() => cpSync(at("first"), at("old"), { recursive: true }));

  it("resumes with the same result, also from an adapter file", async () => {
    await train(config("first", "start"));
    cpSync(at("first", "start", "adapter.safetensors"), at("old", "start.safetensors"));
    const adapter = { name: "colours", injectedStates: 3, startLayer: 3, endLayer: 6, initial: "start.safetensors" };
    await train(config("old", "whole", { adapter }));
    await trainUntil(config("old", "moved", { adapter }), 5);
    renameSync(at("old"), at("new"));
    renameSync(at("new", "images"), at("new", "pictures"));
    for (const name of ["train.jsonl", "validation.jsonl"]) {
      writeFileSync(at("new", name), readFileSync(at("new", name), "utf8").replaceAll("images/", "pictures/"));
    }
    const resumed: number[] = [];
    await train(at("new", "moved.json"), { onPlan: (plan) => resumed.push(plan.resumedFrom) });
    assert.deepEqual(resumed, [5]);
    assert.deepEqual(bytes("new", "moved", "adapter.safetensors"), bytes("new", "whole", "adapter.safetensors"));
  });

  it("is rejected if an image, a caption, the model or a setting has changed, with the name of that part", async () => {
    const path = at("new", "moved.json");
    const rejected = (difference: string) =>
      assert.rejects(train(path), {
        code: "invalid_option",
        message: `${at("new", "moved", "checkpoint.safetensors")}: belongs to a run with ${difference}; choose another output folder or remove this file`,
      });
    const changed = async (file: string, change: (path: string) => unknown, difference: string) => {
      const before = readFileSync(file);
      await change(file);
      await rejected(difference);
      writeFileSync(file, before);
    };
    await changed(at("new", "pictures", "3.png"), (file) => drawImage(file, "white", 15), "other data");
    const reworded = (file: string) => writeFileSync(file, readFileSync(file, "utf8").replace("square", "circle"));
    await changed(at("new", "train.jsonl"), reworded, "other data");
    await buildModel({
      encoder: { path: join(golden, "encoder"), given: "encoder", precision: "fp32", preprocessing: "source" },
      decoder: { path: join(golden, "decoder"), given: "decoder", precision: "int8" },
      adapters: [],
      output: at("new", "other"),
    });
    const rebuilt = (file: string) => writeFileSync(file, readFileSync(file, "utf8").replace(':"model"', ':"other"'));
    await changed(path, rebuilt, "another model");
    const retuned = (file: string) =>
      writeFileSync(file, readFileSync(file, "utf8").replace('"epochs":2', '"epochs":3'));
    await changed(path, retuned, "another config ('epochs' was 2 and is now 3)");
    await train(path);
  });
});

describe("an installed adapter", () => {
  before(() => cpSync(at("first"), at("taken"), { recursive: true }));
  const installing = (output: string, changes: object = {}) => config("taken", output, { install: true, ...changes });
  const installed = () => readManifest(at("taken", "model")).adapters.colours;

  it("is not replaced by another run, which is rejected before it reads any data", async () => {
    await train(installing("one"));
    const before = bytes("taken", "model", "adapters", "colours.safetensors");
    await assert.rejects(train(installing("two", { seed: 1, data: { train: { path: "none.jsonl" } } })), {
      code: "invalid_option",
      message: /^adapter\.name: .*model already has an adapter 'colours': choose another name, or set 'replace: true'$/,
    });
    assert.ok(!existsSync(at("taken", "two")));
    assert.deepEqual(bytes("taken", "model", "adapters", "colours.safetensors"), before);
  });

  it("is kept by its own run, which gives the same result again without training", async () => {
    const report = bytes("taken", "one", "report.html");
    const result = await train(installing("one"), { onStep: () => assert.fail("a step") });
    assert.ok("CIDEr" in result.scores);
    assert.deepEqual([result.epoch, result.tasks], [2, ["caption"]]);
    assert.deepEqual(bytes("taken", "one", "report.html"), report);
    assert.ok(installed());
  });

  it("is replaced on request, also by a run that is resumed", async () => {
    const path = installing("three", { seed: 1, replace: true });
    await trainUntil(path, 3);
    await train(path);
    assert.deepEqual(
      bytes("taken", "model", "adapters", "colours.safetensors"),
      bytes("taken", "three", "adapter.safetensors"),
    );
    await assert.rejects(train(installing("one")), { code: "invalid_option", message: /already has an adapter/ });
  });

  it("that appeared during the training is not replaced; the run can install its result under another name", async () => {
    const path = installing("four", { adapter: { name: "late", injectedStates: 3, startLayer: 3, endLayer: 6 } });
    const manifestFile = at("taken", "model", "epalm.json");
    await assert.rejects(
      train(path, {
        onStep({ step }) {
          if (step > 1) return;
          const manifest = JSON.parse(readFileSync(manifestFile, "utf8"));
          manifest.adapters.late = manifest.adapters.colours;
          writeFileSync(manifestFile, JSON.stringify(manifest));
        },
      }),
      { code: "invalid_option", message: /already has an adapter 'late'/ },
    );
    const renamed = { adapter: { name: "later", injectedStates: 3, startLayer: 3, endLayer: 6 } };
    await train(installing("four", renamed), { onStep: () => assert.fail("a step") });
    assert.ok(readManifest(at("taken", "model")).adapters.later);
  });
});

describe("a run that keeps its best epoch", () => {
  // A high learning rate, with which the scores do not rise steadily.
  const settings = { keep: "best", epochs: 5, optimizer: { learningRate: 0.05 }, install: true };
  const adapter = (name: string) => ({ name, injectedStates: 3, startLayer: 3, endLayer: 6 });

  function epochs(output: string): { epoch: number; scores: Record<string, number> }[] {
    const lines = readFileSync(at("first", output, "log.jsonl"), "utf8")
      .trimEnd()
      .split("\n");
    return lines.map((line) => JSON.parse(line)).filter(({ kind }) => kind === "epoch");
  }

  it("installs the adapter of the epoch with the best score, and writes the last one next to it", async () => {
    const result = await train(config("first", "best", { ...settings, adapter: adapter("best") }));
    const all = epochs("best");
    const values = all.map(({ scores }) => scores.CIDEr ?? Number.NaN);
    const best = values.indexOf(Math.max(...values)) + 1;
    assert.ok(best < 5, `the scores ${values} do not distinguish the best epoch from the last`);
    assert.equal(result.epoch, best);
    assert.deepEqual(result.scores, all[best - 1]?.scores);
    assert.deepEqual(
      bytes("first", "model", "adapters", "best.safetensors"),
      bytes("first", "best", "adapter.safetensors"),
    );
    const model = await load(at("first", "model"), { threads: 1 });
    try {
      const { examples } = await readEvaluationData({ path: at("first", "validation.jsonl") });
      for (const [file, epoch] of [
        ["adapter.safetensors", best],
        ["adapter-last.safetensors", 5],
      ] as const) {
        await model.useAdapter("tested", await readAdapter(at("first", "best", file)));
        const { scores } = await evaluateModel(model, examples, { adapter: "tested" });
        assert.deepEqual(namedScores(scores), all[epoch - 1]?.scores, file);
      }
    } finally {
      await model.close();
    }
    const again = await train(at("first", "best.json"), { onStep: () => assert.fail("a step") });
    assert.equal(again.epoch, best);
    assert.deepEqual(again.scores, result.scores);
  });

  it("has the same result if it is interrupted after its best epoch", async () => {
    const path = config("first", "halted", { ...settings, adapter: adapter("halted") });
    await trainUntil(path, 18);
    const result = await train(path);
    assert.deepEqual(result.scores, epochs("best")[result.epoch - 1]?.scores);
    for (const file of ["adapter.safetensors", "adapter-last.safetensors"]) {
      assert.deepEqual(bytes("first", "halted", file), bytes("first", "best", file), file);
    }
  });

  it("ends after `patience` epochs without a better score, and trains nothing if it is started again", async () => {
    const values = epochs("best").map(({ scores }) => scores.CIDEr ?? Number.NaN);
    const last = values.findIndex((value, index) => index > 0 && value <= Math.max(...values.slice(0, index))) + 1;
    assert.ok(last > 0 && last < 5, `the scores ${values} do not end a run early`);
    const path = config("first", "patient", { ...settings, adapter: adapter("patient"), patience: 1 });
    const result = await train(path);
    assert.deepEqual(epochs("patient"), epochs("best").slice(0, last));
    assert.equal(result.epoch, values.indexOf(Math.max(...values.slice(0, last))) + 1);
    await train(path, { onStep: () => assert.fail("a step") });
  });

  it("first trains the text-only baseline and reports its scores, if `baseline` is set", async () => {
    let began = false;
    const result = await train(config("first", "compared", { epochs: 1, baseline: true }), {
      onBaseline: () => {
        began = true;
      },
    });
    const alone = await train(config("first", "unseeing", { epochs: 1, blind: true }));
    assert.ok(began);
    assert.deepEqual(result.baselineScores, alone.scores);
    assert.deepEqual(
      bytes("first", "compared", "baseline", "adapter.safetensors"),
      bytes("first", "unseeing", "adapter.safetensors"),
    );
    assert.match(readFileSync(result.reportFile, "utf8"), /<td>text-only baseline<\/td><td>\d/);
  });

  const unusable: readonly (readonly [changes: object, message: RegExp])[] = [
    [{ keep: "last", patience: 2 }, /^patience: expected 'keep: best' with it, got 'keep: last'/],
    [
      { baseline: true, data: { train: { path: "train.jsonl" } } },
      /^baseline: expected 'data\.validation' with it, got no validation/,
    ],
    [{ data: { train: { path: "train.jsonl" } } }, /^keep: expected 'data\.validation' with 'best', got no validation/],
    [
      { score: "accuracy" },
      /^score: expected cider or cider-d or bleu-4 or rouge-l for this validation set, got accuracy/,
    ],
    [{ keep: "last", score: "cider" }, /^score: expected 'keep: best' with it, got 'keep: last'/],
    [{ score: "loss" }, /'score': expected "cider", .* got "loss"/],
  ];
  for (const [changes, message] of unusable) {
    it(`is rejected with ${JSON.stringify(changes)}`, async () => {
      const path = config("first", "unusable", { ...settings, adapter: adapter("unusable"), ...changes });
      await assert.rejects(async () => train(path), { code: "invalid_option", message });
      assert.ok(!existsSync(at("first", "unusable")));
    });
  }
});

describe("a model with an int4 decoder", () => {
  it("is rejected before any medium is encoded", async () => {
    await buildModel({
      encoder: { path: join(golden, "encoder"), given: "encoder", precision: "fp32", preprocessing: "source" },
      decoder: { path: join(golden, "decoder"), given: "decoder", precision: "int4" },
      adapters: [],
      output: at("first", "int4"),
    });
    await assert.rejects(train(config("first", "coarse", { model: "int4" }), { onEncoding: () => assert.fail() }), {
      code: "invalid_option",
      message: /int4: decoder: precision: expected fp32, fp16 or int8, got int4$/,
    });
    assert.ok(!existsSync(at("first", "coarse")));
  });
});

describe("an output folder in use", () => {
  it("is rejected", async () => {
    const path = config("first", "busy");
    let second: Promise<unknown> | undefined;
    await train(path, { onPlan: () => (second = assert.rejects(train(path), { code: "in_use", message: /busy: / })) });
    await second;
    assert.ok(second);
  });
});
