import type { WeightSource } from "../backbones/parameters.js";
import { constantSource, type Shape, type Tensor, type TensorSource } from "../tensor/tensor.js";

/** The values that a tensor starts with. */
export type Initializer = (name: string, shape: Shape) => Float32Array<ArrayBuffer>;

/** Weights that nothing trained yet: made when a backbone needs for them, and kept. */
export class InitialWeights implements WeightSource {
  readonly #initialize: Initializer;
  readonly #has: (name: string) => boolean;
  readonly #tensors = new Map<string, Tensor>();

  /** @param has which of the tensors that a backbone may do without there shall be */
  constructor(initialize: Initializer, has: (name: string) => boolean = () => false) {
    this.#initialize = initialize;
    this.#has = has;
  }

  /** All that were asked for. */
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
