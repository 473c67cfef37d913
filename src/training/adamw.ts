import { EpalmError } from "../core/errors.js";
import { floats, type Tensor } from "../tensor/tensor.js";

/**
 * AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), as torch.optim.AdamW computes it: the decay is subtracted
 * from the weights and is not part of the gradient.
 */

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

export const torchDefaults: AdamWOptions = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

/** How far one step changes a tensor. */
export interface StepSize {
  readonly learningRate: number;
  /** Each step multiplies the weights by `1 - learningRate * weightDecay`. */
  readonly weightDecay: number;
}

/** Running means of a tensor's gradient and of its square; part of a checkpoint. */
export interface Moments {
  readonly mean: Float32Array;
  readonly square: Float32Array;
}

export class AdamW {
  readonly #options: AdamWOptions;
  readonly #moments: Map<string, Moments>;
  #steps: number;

  /** @param state steps done and moments of the run to resume; the moments are copied */
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

  /** The arrays are not copied: the next step changes them. */
  get moments(): ReadonlyMap<string, Moments> {
    return this.#moments;
  }

  /**
   * Changes the weights in place.
   *
   * @throws internal if a gradient or its moments differ from the tensor in length
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
