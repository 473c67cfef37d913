import type { WeightSource } from "../backbones/parameters.js";
import { constantSource, type Shape, type Tensor, type TensorSource } from "../tensor/tensor.js";

/** Computes the initial values of a tensor. */
export type Initializer = (name: string, shape: Shape) => Float32Array<ArrayBuffer>;

/** Untrained weights, created when a backbone first requests them and kept from then on. */
export class InitialWeights implements WeightSource {
  readonly #initialize: Initializer;
  readonly #has: (name: string) => boolean;
  readonly #tensors = new Map<string, Tensor>();

  /** @param has whether a tensor that is optional in a backbone exists */
  constructor(initialize: Initializer, has: (name: string) => boolean = () => false) {
    this.#initialize = initialize;
    this.#has = has;
  }

  /** All tensors that have been requested. */
  get tensors(): ReadonlyMap<string, Tensor> {
    return this.#tensors;
  }

  has(name: string): boolean {
    return this.#has(name);
  }

  take(name: string, shape: Shape): TensorSource {
    const tensor = this.#tensors.get(name) ?? { type: "float32", shape, data: this.#initialize(name, shape) };
    this.#tensors.set(name, tensor);
    return constantSource("float32", shape, tensor.data);
  }

  takeIfPresent(name: string, shape: Shape): TensorSource | undefined {
    return this.has(name) ? this.take(name, shape) : undefined;
  }
}
