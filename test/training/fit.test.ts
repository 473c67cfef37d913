import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { gradient } from "../../src/autodiff/gradient.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import type { Feeds } from "../../src/runtime/session.js";
import { floats } from "../../src/tensor/tensor.js";
import { torchDefaults } from "../../src/training/adamw.js";
import { type FitOptions, type FitReport, fit } from "../../src/training/fit.js";
import { readRunState } from "../../src/training/run-state.js";
import { WeightTraining } from "../../src/training/weight-training.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();

/** The mean square of `weight - target`, per batch; and `distance`, the difference itself. */
function open(checkpoint?: string): Promise<WeightTraining> {
  const g = new GraphBuilder("square");
  const weight = g.input("weight", "float32", [2]);
  const distance = g.output("distance", g.subtract(weight, g.input("target", "float32", [2])));
  g.output("loss", g.squeeze(g.mean(g.multiply(distance, distance), 0), 0));
  return WeightTraining.open(
    encodeOnnx(gradient(g.finish(), "loss", ["weight"])),
    {
      weights: new Map([["weight", { type: "float32", shape: [2], data: new Float32Array(2) }]]),
      optimizer: torchDefaults,
      state: checkpoint === undefined ? undefined : readRunState(checkpoint, { config: "run" }),
    },
    { threads: 1 },
  );
}

const target = (...values: number[]): Feeds => ({
  target: { type: "float32", shape: [2], data: Float32Array.from(values) },
});

const STEPS = 6;

function options(changes: Partial<FitOptions> = {}): FitOptions {
  return {
    async *batches(done) {
      for (let step = done; step < STEPS; step++) yield [target(step, 1), target(2, -step)];
    },
    rateShare: (step) => 1 - step / STEPS,
    stepSize: (_name, share) => ({ learningRate: 0.1 * share, weightDecay: 0 }),
    ...changes,
  };
}

async function weightsAfter(changes: Partial<FitOptions>, checkpoint?: string): Promise<number[]> {
  const training = await open(checkpoint);
  await fit(training, options(changes));
  await training.close();
  return Array.from(floats(training.weights.get("weight")));
}

describe("the training loop", () => {
  it("sums the batches of a step and reports the step", async () => {
    const reports: FitReport[] = [];
    await weightsAfter({ outputs: ["distance"], onStep: (report) => void reports.push(report) });
    assert.deepEqual(
      reports.map(({ step }) => step),
      [1, 2, 3, 4, 5, 6],
    );
    const [first] = reports;
    // Zero weights: half of 0 + 1, and half of 4 + 0; gradients (0, -1) and (-2, 0).
    assert.equal(first?.loss, 0.5 + 2);
    assert.equal(first?.gradientNorm, Math.hypot(1, 2));
    assert.equal(first?.rateShare, 1);
    assert.deepEqual(
      first?.batches.map(({ outputs }) => Array.from(floats(outputs.distance), (value) => value + 0)),
      [
        [0, -1],
        [-2, 0],
      ],
    );
    assert.ok(reports.every(({ batches }) => batches.every(({ outputs }) => !("loss" in outputs))));
  });

  it("gives the same weights if the next batches are prepared ahead", async () => {
    assert.deepEqual(await weightsAfter({ prefetch: true }), await weightsAfter({}));
  });

  it("gives the same weights after an interruption", async () => {
    const path = `${folder}/interrupted.safetensors`;
    const stopped = new Error("stopped");
    for (const prefetch of [false, true]) {
      const training = await open();
      const first = fit(training, {
        ...options({ prefetch }),
        onStep({ step }) {
          if (step === 3) training.save(path, { config: "run" });
          if (step === 4) throw stopped;
        },
      });
      await assert.rejects(first, stopped);
      await training.close();
      assert.deepEqual(await weightsAfter({ prefetch }, path), await weightsAfter({}));
    }
  });

  it("stops before the next step when the signal fires, after the caller has saved", async () => {
    for (const prefetch of [false, true]) {
      const controller = new AbortController();
      const training = await open();
      let saved = 0;
      const aborted = fit(training, {
        ...options({ prefetch }),
        onStep({ step }) {
          if (step === 2) controller.abort();
        },
        signal: controller.signal,
        onAbort: () => {
          saved = training.steps;
        },
      });
      await assert.rejects(aborted, { code: "aborted" });
      assert.equal(saved, 2);
      await training.close();
    }
  });

  it("throws the error of a batch that was prepared ahead when the batch is due", async () => {
    const broken = new Error("unreadable");
    const done: number[] = [];
    const failing = weightsAfter({
      prefetch: true,
      async *batches() {
        yield [target(1, 1)];
        throw broken;
      },
      async onStep({ step }) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        done.push(step);
      },
    });
    await assert.rejects(failing, broken);
    assert.deepEqual(done, [1]);
  });
});
