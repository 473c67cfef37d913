import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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
  readEvaluationData,
  readTrainingConfig,
  type TrainingPlan,
  trainModel,
} from "../../../src/index.js";
import { writeTrainingConfig } from "../../support/training-config.js";

const golden = "test/fixtures/goldens/opt-shared-1token";
const cli = fileURLToPath(new URL("../../../src/cli/main.js", import.meta.url));
const colours = ["red", "green", "blue", "yellow"] as const;

const temporary = mkdtempSync(join(tmpdir(), "epalm-train-"));
after(() => rmSync(temporary, { recursive: true, force: true }));

function config(name: string, changes: object = {}): string {
  return writeTrainingConfig(temporary, name, { epochs: 3, ...changes });
}

function adapterBytes(name: string): Buffer {
  return readFileSync(join(temporary, name, "adapter.safetensors"));
}

function log(name: string): { kind: string; step: number; tokenLoss?: number; scores?: object }[] {
  const text = readFileSync(join(temporary, name, "log.jsonl"), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

before(async () => {
  mkdirSync(join(temporary, "pictures"));
  const lines: string[] = [];
  for (let index = 0; index < 24; index++) {
    const colour = colours[index % 4] ?? "red";
    const image = `pictures/${index}.png`;
    const create = { width: 30 + (index % 5), height: 32, channels: 3 as const, background: colour };
    await sharp({ create }).png().toFile(join(temporary, image));
    const caption = { image, caption: [`${colour} square`, `a ${colour} thing`] };
    const question = { image, question: "what colour?", answer: colour };
    lines.push(JSON.stringify(index % 3 === 0 ? question : caption));
  }
  writeFileSync(join(temporary, "train.jsonl"), `${lines.slice(0, 18).join("\n")}\n`);
  writeFileSync(join(temporary, "validation.jsonl"), `${lines.slice(18).join("\n")}\n`);
  await buildModel({
    encoder: { path: join(golden, "encoder"), given: "encoder", precision: "fp32", preprocessing: "source" },
    decoder: { path: join(golden, "decoder"), given: "decoder", precision: "fp32" },
    adapters: [],
    output: join(temporary, "model"),
  });
});

describe("training a model's adapter", () => {
  it("lowers the loss, logs every step, scores every epoch and writes a report", async () => {
    const plans: TrainingPlan[] = [];
    const result = await trainModel(readTrainingConfig(config("whole", { epochs: 6 })), {
      onPlan: (plan) => plans.push(plan),
    });
    const [plan] = plans;
    assert.equal(plan?.examples, 18);
    assert.ok(plan && plan.trainedShare > 0 && plan.trainedShare < 0.05);
    const lines = log("whole");
    const steps = lines.filter(({ kind }) => kind === "step");
    assert.deepEqual(
      steps.map(({ step }) => step),
      Array.from(steps, (_, index) => index + 1),
    );
    const mean = (part: typeof steps) =>
      part.reduce((sum, { tokenLoss = Number.NaN }) => sum + tokenLoss, 0) / part.length;
    assert.ok(mean(steps.slice(-8)) < mean(steps.slice(0, 8)) - 0.2);
    assert.equal(lines.filter(({ kind }) => kind === "epoch").length, 6);
    assert.ok("CIDEr" in result.scores && "VQA accuracy" in result.scores);
    assert.match(readFileSync(result.reportFile, "utf8"), /CIDEr/);
  });

  it("gives the same weights, bit for bit, after kill -9 at any moment", async () => {
    // Without validation, little happens between the steps, so that the kill hits steps and checkpoints.
    const data = { train: { path: "train.jsonl" } };
    const changes = {
      data,
      epochs: 20,
      adapter: { name: "same", injectedStates: 3, startLayer: 3, endLayer: 6 },
    };
    await trainModel(readTrainingConfig(config("unstopped", changes)));
    const path = config("killed", changes);
    let kills = 0;
    for (const steps of [3, 25]) {
      const child = spawn(process.execPath, [cli, "train", path], { stdio: "ignore" });
      const ended = once(child, "exit");
      const reached = () => existsSync(join(temporary, "killed", "log.jsonl")) && log("killed").length >= steps;
      for (let waited = 0; waited < 60_000 && child.exitCode === null && !safely(reached); waited += 5) await delay(5);
      child.kill("SIGKILL");
      await ended;
      if (child.signalCode === "SIGKILL") kills++;
    }
    assert.ok(kills > 0);
    await trainModel(readTrainingConfig(path));
    assert.deepEqual(adapterBytes("killed"), adapterBytes("unstopped"));
    const losses = (name: string) => log(name).map(({ step, tokenLoss }) => [step, tokenLoss]);
    assert.deepEqual(losses("killed"), losses("unstopped"));
  });

  it("does not resume from a checkpoint of other settings", async () => {
    await assert.rejects(trainModel(readTrainingConfig(config("whole", { epochs: 6, seed: 1 }))), {
      code: "invalid_option",
      message: /belongs to a run with another config/,
    });
  });

  it("names a bad line before anything is computed, and skips it on request", async () => {
    const good = readFileSync(join(temporary, "train.jsonl"), "utf8");
    writeFileSync(join(temporary, "bad.jsonl"), `{"image": "pictures/none.png", "caption": "x"}\n${good}`);
    const changes = { data: { train: { path: "bad.jsonl" } }, epochs: 1 };
    await assert.rejects(trainModel(readTrainingConfig(config("bad", changes))), {
      code: "invalid_data",
      message: /bad\.jsonl:1: 'image': .*none\.png: no such file/,
    });
    assert.ok(!existsSync(join(temporary, "bad")));
    const plans: TrainingPlan[] = [];
    await trainModel(readTrainingConfig(config("skipping", { ...changes, skipBad: true })), {
      onPlan: (plan) => plans.push(plan),
    });
    assert.equal(plans[0]?.skipped.length, 1);
    assert.equal(plans[0]?.examples, 18);
  });

  it("encodes no image for the text-only baseline, and augmented ones on request", async () => {
    await trainModel(readTrainingConfig(config("blind", { epochs: 1, blind: true })));
    assert.ok(!existsSync(join(temporary, "blind", "states")));
    await trainModel(readTrainingConfig(config("augmented", { epochs: 1, augmentations: 2 })));
    const states = readdirSync(join(temporary, "augmented", "states"), {
      recursive: true,
      withFileTypes: true,
    });
    assert.equal(states.filter((entry) => entry.isFile()).length, 18 * 2);
    assert.notDeepEqual(adapterBytes("blind"), adapterBytes("augmented"));
  });

  it("installs the adapter in the model folder, which then answers with it", async () => {
    await trainModel(readTrainingConfig(config("mine", { epochs: 1, install: true })));
    const model = await load(join(temporary, "model"), { threads: 1 });
    try {
      assert.deepEqual(model.manifest.adapters.mine?.tasks.toSorted(), ["caption", "vqa"]);
      const { examples } = await readEvaluationData({ path: join(temporary, "validation.jsonl") }, {});
      const seeing = await evaluateModel(model, examples);
      const blind = await evaluateModel(model, examples, { textOnly: true });
      assert.equal(seeing.predictions.length, examples.length);
      assert.equal(
        new Set(blind.predictions.filter(({ kind }) => kind === "caption").map(({ prediction }) => prediction)).size,
        1,
      );
    } finally {
      await model.close();
    }
  });
});

/** The last line of the log may still be incomplete when it is read. */
function safely(look: () => boolean): boolean {
  try {
    return look();
  } catch {
    return false;
  }
}
