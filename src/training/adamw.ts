import { EpalmError } from "../core/errors.js";
import { floats, type Tensor } from "../tensor/tensor.js";

/**
 * AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), as torch.optim.AdamW computes it: the decay is taken from the
 * weights before the step, and not from the gradient.
 */

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

export const torchDefaults: AdamWOptions = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

/** How one tensor is stepped. */
export interface StepSize {
  readonly learningRate: number;
  /** Share of the learning rate by which weights shrink in each step. */
  readonly weightDecay: number;
}

/** Running means of gradients and of their squares, per tensor; what a checkpoint keeps. */
export interface Moments {
  readonly mean: Float32Array;
  readonly square: Float32Array;
}

export class AdamW {
  readonly #options: AdamWOptions;
  readonly #moments: Map<string, Moments>;
  #steps: number;

  /** @param state steps done and moments so far, where a run goes on; moments are copied */
  constructor(
    options: AdamWOptions = torchDefaults,
    state: { readonly steps: number; readonly moments: ReadonlyMap<string, Moments> } = {
      steps: 0,
      moments: new Map(),
    },
  ) {
    this.#options = options;
    this.#steps = state.steps;
    this.#moments = new Map(
      Array.from(state.moments, ([name, { mean, square }]) => [name, { mean: mean.slice(), square: square.slice() }]),
    );
  }

  get steps(): number {
    return this.#steps;
  }

  /** The next step changes these arrays. */
  get moments(): ReadonlyMap<string, Moments> {
    return this.#moments;
  }

  /**
   * Changes the weights in place.
   *
   * @throws internal where a gradient or its moments are not as long as the tensor
   */
  step(
    weights: ReadonlyMap<string, Tensor>,
    gradientOf: (name: string) => Float32Array,
    sizeOf: (name: string) => StepSize,
  ): void {
    this.#steps++;
    for (const [name, tensor] of weights) {
      const [gradient, moments] = [gradientOf(name), this.#momentsOf(name, tensor.data.length)];
      for (const { length } of [gradient, moments.mean, moments.square]) {
        if (length !== tensor.data.length)
          throw new EpalmError("internal", `AdamW: ${name}: expected ${tensor.data.length} numbers, got ${length}`);
      }
      this.#update(floats(tensor), gradient, moments, sizeOf(name));
    }
  }

  #momentsOf(name: string, length: number): Moments {
    const known = this.#moments.get(name);
    if (known) return known;
    const fresh = { mean: new Float32Array(length), square: new Float32Array(length) };
    this.#moments.set(name, fresh);
    return fresh;
  }

  #update(
    weights: Float32Array,
    gradient: Float32Array,
    { mean, square }: Moments,
    { learningRate, weightDecay }: StepSize,
  ): void {
    const { beta1, beta2, epsilon } = this.#options;
    const stepSize = learningRate / (1 - beta1 ** this.#steps);
    const rootCorrection = Math.sqrt(1 - beta2 ** this.#steps);
    const keep = 1 - learningRate * weightDecay;
    for (let i = 0; i < weights.length; i++) {
      const slope = gradient[i] as number;
      const m = beta1 * (mean[i] as number) + (1 - beta1) * slope;
      const v = beta2 * (square[i] as number) + (1 - beta2) * slope * slope;
      mean[i] = m;
      square[i] = v;
      weights[i] = (weights[i] as number) * keep - (stepSize * m) / (Math.sqrt(v) / rootCorrection + epsilon);
    }
  }
}
