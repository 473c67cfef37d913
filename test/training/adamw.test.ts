import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { EpalmError } from "../../src/core/errors.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { AdamW, type AdamWOptions, type StepSize, torchDefaults } from "../../src/training/adamw.js";
import { assertClose } from "../autodiff/relative-difference.js";
import { tolerances } from "../autodiff/tolerances.js";

type Numbers = Readonly<Record<string, readonly number[]>>;

/** Two groups, three steps; torch 2.13, `torch.optim.AdamW(groups, foreach=False)`. */
const start: Numbers = { connector: [0.5, -1.25, 2], prompt: [3, -0.125] };
const gradients: readonly Numbers[] = [
  { connector: [0.25, -4, 0], prompt: [1e-3, -50] },
  { connector: [-0.5, -4, 1], prompt: [2e-3, 25] },
  { connector: [0.125, 8, -0.25], prompt: [-1e-3, 0] },
];

interface TorchRun {
  readonly what: string;
  readonly options: AdamWOptions;
  readonly sizes: Readonly<Record<string, StepSize>>;
  /** Weights after each step. */
  readonly weights: readonly Numbers[];
  /** `exp_avg` and `exp_avg_sq` after the last. */
  readonly mean: Numbers;
  readonly square: Numbers;
}

const torchRuns: readonly TorchRun[] = [
  {
    what: "torch's defaults, one group without decay",
    options: torchDefaults,
    sizes: {
      connector: { learningRate: 0.01, weightDecay: 0.02 },
      prompt: { learningRate: 0.1, weightDecay: 0 },
    },
    weights: [
      {
        connector: [0.48990002274513245, -1.2397500276565552, 1.9996000528335571],
        prompt: [2.900001049041748, -0.025000005960464478],
      },
      {
        connector: [0.49346309900283813, -1.2295020818710327, 1.9917588233947754],
        prompt: [2.803483486175537, 0.0016336999833583832],
      },
      {
        connector: [0.4947313368320465, -1.2300127744674683, 1.9873303174972534],
        prompt: [2.761474847793579, 0.022221628576517105],
      },
    ],
    mean: {
      connector: [-0.012249997816979885, 0.11600004881620407, 0.0650000050663948],
      prompt: [0.00016099998902063817, -1.7999999523162842],
    },
    square: {
      connector: [0.0003277500800322741, 0.09595201909542084, 0.0010615000501275063],
      prompt: [5.994001739395571e-9, 3.119377374649048],
    },
  },
  {
    what: "other betas, an epsilon that counts, decay in both groups",
    options: { beta1: 0.8, beta2: 0.95, epsilon: 1e-3 },
    sizes: {
      connector: { learningRate: 0.01, weightDecay: 0.02 },
      prompt: { learningRate: 0.1, weightDecay: 0.5 },
    },
    weights: [
      {
        connector: [0.4899398684501648, -1.2397525310516357, 1.9996000528335571],
        prompt: [2.799999952316284, -0.018751993775367737],
      },
      {
        connector: [0.49401572346687317, -1.2295070886611938, 1.9914531707763672],
        prompt: [2.600015163421631, 0.0034309793263673782],
      },
      {
        connector: [0.4953433573246002, -1.230863332748413, 1.9872777462005615],
        prompt: [2.4489614963531494, 0.018817942589521408],
      },
    ],
    mean: {
      connector: [-0.023000001907348633, 0.44800007343292236, 0.11000000685453415],
      prompt: [0.0002479999966453761, -2.4000000953674316],
    },
    square: {
      connector: [0.015476563014090061, 4.682000160217285, 0.05062500014901161],
      prompt: [2.8512502581179433e-7, 142.5],
    },
  },
];

function weightsOf(numbers: Numbers): ReadonlyMap<string, Tensor> {
  return new Map(
    Object.entries(numbers).map(([name, list]) => [
      name,
      { type: "float32", shape: [list.length], data: Float32Array.from(list) },
    ]),
  );
}

function step(
  optimizer: AdamW,
  weights: ReadonlyMap<string, Tensor>,
  gradient: Numbers | undefined,
  sizes: TorchRun["sizes"],
): void {
  optimizer.step(
    weights,
    (name) => Float32Array.from(gradient?.[name] ?? []),
    (name) => sizes[name] ?? { learningRate: Number.NaN, weightDecay: Number.NaN },
  );
}

describe("AdamW", () => {
  for (const { what, options, sizes, weights: expected, mean, square } of torchRuns) {
    it(`computes the same steps as torch: ${what}`, () => {
      const optimizer = new AdamW(options);
      const weights = weightsOf(start);
      gradients.forEach((gradient, index) => {
        step(optimizer, weights, gradient, sizes);
        for (const [name, { data }] of weights) {
          const wanted = expected[index]?.[name] ?? [];
          assertClose(`${name} after step ${index + 1}`, data as Float32Array, wanted, tolerances.optimizer);
        }
      });
      assert.equal(optimizer.steps, gradients.length);
      for (const [name, moments] of optimizer.moments) {
        assertClose(`mean of ${name}`, moments.mean, mean[name] ?? [], tolerances.optimizer);
        assertClose(`square of ${name}`, moments.square, square[name] ?? [], tolerances.optimizer);
      }
    });

    it(`resumes from its state with the same bits: ${what}`, () => {
      const [whole, first] = [new AdamW(options), new AdamW(options)];
      const [weights, resumed] = [weightsOf(start), weightsOf(start)];
      for (const gradient of gradients) step(whole, weights, gradient, sizes);
      step(first, resumed, gradients[0], sizes);
      const second = new AdamW(options, { steps: first.steps, moments: first.moments });
      // The second optimizer must not share arrays with the first, which continues.
      step(first, weightsOf(start), gradients[2], sizes);
      for (const gradient of gradients.slice(1)) step(second, resumed, gradient, sizes);
      assert.deepEqual(resumed, weights);
      assert.deepEqual(second.moments, whole.moments);
      assert.equal(second.steps, whole.steps);
    });
  }

  it("shrinks weights without a gradient by the decay alone", () => {
    const weights = weightsOf({ table: [4, -8] });
    const sizes = { table: { learningRate: 0.5, weightDecay: 0.25 } };
    step(new AdamW(), weights, { table: [0, 0] }, sizes);
    assert.deepEqual(weights.get("table")?.data, Float32Array.of(3.5, -7));
  });

  it("rejects a gradient that differs from its tensor in length", () => {
    assert.throws(
      () => step(new AdamW(), weightsOf(start), { connector: [1, 2, 3], prompt: [] }, torchRuns[0]?.sizes ?? {}),
      (error) => error instanceof EpalmError && /prompt: expected 2 numbers, got 0/.test(error.message),
    );
  });
});
