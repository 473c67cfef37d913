import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { maeConfigOf } from "../../../src/fedmae/config.js";
import type { Tensor } from "../../../src/tensor/tensor.js";
import { type LabelledImage, readLabelledImages } from "../../../src/training/data/labelled-images.js";
import {
  type EncoderFolder,
  readEncoderFolder,
  writeEncoderFolder,
} from "../../../src/training/encoder/encoder-folder.js";
import { type FinetuneOptions, finetune, untrained } from "../../../src/training/encoder/finetune.js";
import { initialMae } from "../../../src/training/encoder/initial-mae.js";
import { linearProbe } from "../../../src/training/encoder/linear-probe.js";
import {
  drawColour,
  drawPicture,
  lineCount,
  readJsonLines,
  temporaryFolder,
  tensorsOf,
  tinyConfig,
  until,
} from "../../support/tiny-clients.js";

const cli = fileURLToPath(new URL("../../../src/cli/main.js", import.meta.url));
const folder = temporaryFolder();
const at = (...names: string[]) => join(folder, ...names);

function encoder(seed = 0): EncoderFolder {
  const config = maeConfigOf(tinyConfig({ clients: { path: "x", count: 1 } }), 2);
  return { config, tensors: initialMae(config, seed) };
}

let training: LabelledImage[] = [];
let test: LabelledImage[] = [];

before(async () => {
  for (const colour of ["red", "blue"] as const) {
    for (let index = 0; index < 9; index++) {
      await drawColour(at(index < 6 ? "training" : "test", colour, `${index}.png`), colour, index);
    }
  }
  training = await readLabelledImages([at("training")]);
  test = await readLabelledImages([at("test")]);
  writeEncoderFolder(at("encoder"), encoder());
});

function options(name: string, changes: Partial<FinetuneOptions> = {}): FinetuneOptions {
  return {
    training,
    test,
    epochs: 6,
    batchSize: 4,
    learningRate: 0.005,
    weightDecay: 0.05,
    warmupEpochs: 1,
    layerDecay: 0.75,
    labelSmoothing: 0.1,
    leastArea: 0.5,
    mirror: true,
    seed: 0,
    threads: 1,
    ...changes,
    output: at(name),
  };
}

function tensorsIn(name: string): ReadonlyMap<string, Tensor> {
  return tensorsOf(at(name, "model.safetensors"));
}

function bytesIn(name: string): Buffer {
  return readFileSync(at(name, "model.safetensors"));
}

interface EpochLine {
  readonly epoch: number;
  readonly accuracies: Readonly<Record<string, number>>;
}

const epochsOf = (name: string) => readJsonLines<EpochLine>(at(name, "epochs.jsonl"));

describe("fine-tuning", () => {
  it("learns to distinguish two colours and writes an encoder without decoder", async () => {
    const seen: number[] = [];
    const accuracies = await finetune(encoder(), options("whole"), { onEpoch: (epoch) => seen.push(epoch) });
    assert.deepEqual(Object.fromEntries(accuracies), { label: 1 });
    assert.deepEqual(seen, [1, 2, 3, 4, 5, 6]);
    assert.deepEqual(
      epochsOf("whole").map(({ epoch }) => epoch),
      seen,
    );
    assert.deepEqual(epochsOf("whole").at(-1)?.accuracies, { label: 1 });
    assert.deepEqual(JSON.parse(readFileSync(at("whole", "classes.json"), "utf8")), {
      label: ["blue", "red"],
    });
    const { config, tensors } = await readEncoderFolder(at("whole"));
    assert.deepEqual([config.model_type, config.num_hidden_layers, config.num_attention_heads], ["vit", 2, 2]);
    assert.ok(!Array.from(tensors.keys()).some((name) => /^(decoder|mask_token|head)/.test(name)));
    const given = encoder().tensors;
    for (const [name, tensor] of tensors) {
      if (name === "pos_embed") assert.deepEqual(tensor, given.get(name));
      else assert.notDeepEqual(tensor.data, given.get(name)?.data, name);
    }
  });

  it("returns the same result when started again, without any training", async () => {
    const accuracies = await finetune(encoder(), options("whole"), { onStep: () => assert.fail("a step") });
    assert.deepEqual(Object.fromEntries(accuracies), { label: 1 });
  });

  it("recognises its images in another folder, and rejects one that has changed", async () => {
    cpSync(at("training"), at("moved"), { recursive: true });
    const moved = options("whole", { training: await readLabelledImages([at("moved")]) });
    await finetune(encoder(), moved, { onStep: () => assert.fail("a step") });
    await drawColour(at("moved", "red", "2.png"), "blue", 2);
    const others = [
      [moved, "other data"],
      [options("whole", { seed: 4 }), "another config ('seed' was 0 and is now 4)"],
    ] as const;
    for (const [other, difference] of others) {
      await assert.rejects(finetune(encoder(), other), {
        code: "invalid_option",
        message: `${at("whole", "checkpoint.safetensors")}: belongs to a run with ${difference}; choose another output folder or remove this file`,
      });
    }
    await assert.rejects(finetune(encoder(1), options("whole")), { message: /with another model;/ });
  });

  for (const [trainedBlocks, changing] of [
    [0, /^head\./],
    [1, /^(head|norm|blocks\.1)\./],
    [2, /^(head|norm|blocks|patch_embed|cls_token)\b/],
  ] as const) {
    it(`trains the last ${trainedBlocks} blocks and leaves the others unchanged`, async () => {
      const name = `last-${trainedBlocks}`;
      await finetune(encoder(), options(name, { trainedBlocks, epochs: 2 }));
      const given = encoder().tensors;
      for (const [key, { data }] of tensorsIn(name)) {
        if (changing.test(key)) assert.notDeepEqual(data, given.get(key)?.data, key);
        else assert.deepEqual(data, given.get(key)?.data, key);
      }
    });
  }

  it("learns several attributes at once from images that do not all have them", async () => {
    const lines: string[] = [];
    for (const [index, { path, labels }] of training.entries()) {
      const attributes = {
        colour: labels.label,
        ...(index % 3 === 0 ? {} : { temperature: labels.label === "red" ? "hot" : "cold" }),
      };
      lines.push(JSON.stringify({ image: path, labels: attributes }));
    }
    writeFileSync(at("aspects.jsonl"), lines.join("\n"));
    const several = await readLabelledImages([at("aspects.jsonl")]);
    const accuracies = await finetune(encoder(), options("aspects", { training: several, test: several }));
    assert.deepEqual(Object.fromEntries(accuracies), { colour: 1, temperature: 1 });
    assert.deepEqual(
      Array.from(tensorsIn("aspects").keys())
        .filter((name) => name.startsWith("head."))
        .sort(),
      ["head.colour.bias", "head.colour.weight", "head.temperature.bias", "head.temperature.weight"],
    );
  });

  it("learns to classify patches from regions", async () => {
    const sides = [0, 1, 2, 3, 4, 5].map((index) => ({
      path: at("sides", `${index}.png`),
      labels: { colour: index % 2 === 0 ? "red" : "blue" },
    }));
    const halves = [
      [0, 0, 0.5, 1],
      [0.5, 0, 1, 1],
    ] as const;
    const images = sides.map(({ path, labels }, index): LabelledImage => {
      const colours = index % 2 === 0 ? (["red", "blue"] as const) : (["blue", "red"] as const);
      return { path, labels, regions: halves.map((box, half) => ({ label: colours[half] ?? "", box })) };
    });
    for (const [index, { path }] of images.entries()) {
      await drawPicture(path, 16, (x) => (x < 8 === (index % 2 === 0) ? [220, 20, 20] : [20, 20, 220]));
    }
    const settings = { training: images, test: images, epochs: 30, leastArea: 1, mirror: false };
    const accuracies = await finetune(encoder(), options("regions", settings));
    assert.equal(accuracies.get("regions"), 1);
    const { shape } = tensorsIn("regions").get("head.regions.weight") ?? {};
    assert.deepEqual(shape, [3, encoder().config.hidden_size]);
    for (const moved of [{ mirror: true }, { leastArea: 0.5 }]) {
      await assert.rejects(finetune(encoder(), options("moved", { ...settings, ...moved })), {
        code: "invalid_option",
        message: /no crops and no mirroring/,
      });
    }
    const named = images.map(({ path, labels }) => ({ path, labels: { regions: labels.colour ?? "" } }));
    await assert.rejects(finetune(encoder(), options("named", { training: named, test: named })), {
      code: "invalid_data",
      message: /'regions'/,
    });
  });

  it("counts a label that only test images have as an error", async () => {
    await drawPicture(at("green.png"), 16, () => [20, 200, 20]);
    const green: LabelledImage[] = [0, 1].map(() => ({
      path: at("green.png"),
      labels: { label: "green" },
    }));
    const accuracies = await finetune(encoder(), options("green", { test: [...test, ...green] }));
    assert.equal(accuracies.get("label"), 6 / 8);
  });

  it("trains lower blocks more slowly with a layer decay", async () => {
    const change = (name: string, tensor: string) => {
      const values = (tensors: ReadonlyMap<string, Tensor>) => Array.from(tensors.get(tensor)?.data ?? [], Number);
      const given = values(encoder().tensors);
      return values(tensorsIn(name)).reduce((sum, value, at) => sum + Math.abs(value - (given[at] ?? 0)), 0);
    };
    await finetune(encoder(), options("alike", { layerDecay: 1, epochs: 2 }));
    await finetune(encoder(), options("decayed", { layerDecay: 0.1, epochs: 2 }));
    for (const [tensor, least, most] of [
      ["blocks.1.attn.qkv.weight", 0.03, 0.3],
      ["blocks.0.attn.qkv.weight", 0.003, 0.03],
      ["patch_embed.proj.weight", 0.0003, 0.003],
    ] as const) {
      const share = change("decayed", tensor) / change("alike", tensor);
      assert.ok(share > least && share < most, `${tensor}: ${share}`);
    }
  });

  it("ends with the same encoder after a stop within an epoch", async () => {
    const controller = new AbortController();
    const stopped = finetune(encoder(), options("stopped"), {
      signal: controller.signal,
      onStep: (step) => step === 8 && controller.abort(),
    });
    await assert.rejects(stopped, { code: "aborted" });
    assert.equal(epochsOf("stopped").length, 2);
    // A run that is killed between log and checkpoint leaves such a log.
    appendFileSync(at("stopped", "epochs.jsonl"), '{"epoch":3,"accuracies":{}}\n{"epo');
    const steps: number[] = [];
    await finetune(encoder(), options("stopped"), { onStep: (step) => steps.push(step) });
    assert.equal(steps[0], 7);
    assert.deepEqual(bytesIn("stopped"), bytesIn("whole"));
    assert.deepEqual(epochsOf("stopped"), epochsOf("whole"));
  });

  it("ends with the same encoder, bit for bit, after kill -9", async () => {
    const flags = [
      "--epochs",
      "20",
      "--batch-size",
      "4",
      "--learning-rate",
      "0.005",
      "--warmup-epochs",
      "1",
      "--threads",
      "1",
    ];
    const args = ["fedmae", "finetune", at("encoder"), "--train", at("training"), "--test", at("test"), ...flags];
    const run = (name: string) => spawn(process.execPath, [cli, ...args, "--output", at(name)], { stdio: "ignore" });
    const [whole] = await once(run("unstopped"), "exit");
    assert.equal(whole, 0);
    for (const epochs of [2, 9]) {
      const child = run("killed");
      const ended = once(child, "exit");
      await until(() => child.exitCode !== null || lineCount(at("killed", "epochs.jsonl")) >= epochs);
      child.kill("SIGKILL");
      await ended;
      assert.equal(child.signalCode, "SIGKILL");
    }
    const [resumed] = await once(run("killed"), "exit");
    assert.equal(resumed, 0);
    assert.deepEqual(bytesIn("killed"), bytesIn("unstopped"));
    assert.deepEqual(epochsOf("killed"), epochsOf("unstopped"));
  });

  it("does not resume with another encoder, other settings or other images", async () => {
    const others: readonly (readonly [EncoderFolder, Partial<FinetuneOptions>])[] = [
      [encoder(1), {}],
      [untrained(encoder(), 5), {}],
      [encoder(), { learningRate: 0.001 }],
      [encoder(), { training: training.slice(1) }],
    ];
    for (const [other, changes] of others) {
      await assert.rejects(finetune(other, options("whole", changes)), {
        code: "invalid_option",
        message: /belongs to a run/,
      });
    }
  });

  it("rejects more blocks than there are, and attributes without training images", async () => {
    await assert.rejects(finetune(encoder(), options("none", { trainedBlocks: 3 })), {
      code: "invalid_option",
      message: /expected at most 2, the depth of the encoder, got 3/,
    });
    const shapes = test.map(({ path }) => ({ path, labels: { shape: "square" } }));
    await assert.rejects(finetune(encoder(), options("none", { test: shapes })), {
      code: "invalid_data",
      message: /'shape'/,
    });
  });
});

describe("a linear probe", () => {
  const settings = {
    pool: "cls" as const,
    epochs: 40,
    batchSize: 4,
    learningRate: 0.01,
    weightDecay: 0,
    seed: 0,
    threads: 1,
  };

  it("can use the mean of the patches", async () => {
    const accuracies = await linearProbe(encoder(), { ...settings, pool: "mean", training, test });
    assert.equal(accuracies.get("label"), 1);
  });

  it("distinguishes colours by the states of a frozen encoder", async () => {
    const given = encoder();
    const done: number[] = [];
    const accuracies = await linearProbe(given, {
      ...settings,
      training,
      test,
      onImages: (count) => done.push(count),
    });
    assert.equal(accuracies.get("label"), 1);
    assert.equal(done.at(-1), training.length + test.length);
    assert.deepEqual(given, encoder());
  });

  it("is at chance level if labels are unrelated to images", async () => {
    const shuffled = (images: readonly LabelledImage[]) =>
      images.map(({ path }, index) => ({ path, labels: { label: index % 2 === 0 ? "even" : "odd" } }));
    const accuracies = await linearProbe(encoder(), {
      ...settings,
      training: shuffled(training),
      test: shuffled(test),
    });
    assert.ok((accuracies.get("label") ?? 1) < 0.9);
  });

  it("counts unknown labels as errors and rejects unknown attributes", async () => {
    const green = test.map(({ path }) => ({ path, labels: { label: "green" } }));
    const accuracies = await linearProbe(encoder(), { ...settings, epochs: 1, training, test: green });
    assert.equal(accuracies.get("label"), 0);
    const shapes = test.map(({ path }) => ({ path, labels: { shape: "square" } }));
    await assert.rejects(linearProbe(encoder(), { ...settings, training, test: shapes }), {
      code: "invalid_data",
    });
  });
});

describe("untrained", () => {
  it("has the same architecture and positions, and weights that depend on the seed", () => {
    const given = encoder();
    const { config, tensors } = untrained(given, 7);
    assert.deepEqual(config, given.config);
    assert.deepEqual(tensors, untrained(given, 7).tensors);
    for (const [name, { shape, data }] of given.tensors) {
      const found = tensors.get(name);
      assert.deepEqual(found?.shape, shape);
      const isDrawn = /(_token|(proj|qkv|fc\d|embed|pred)\.weight)$/.test(name);
      assert.equal(
        Buffer.from(new Uint8Array(found?.data.buffer ?? [])).equals(new Uint8Array(data.buffer)),
        !isDrawn,
        name,
      );
    }
  });
});
