import { ParameterReader, type WeightSource } from "../backbones/parameters.js";
import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import type { LinearParameters } from "../layers/linear.js";
import { constantSource, elementCount, type Shape } from "../tensor/tensor.js";

/**
 * Parameters of a backbone in training. Trained tensors are inputs of the graph, with the shapes and names of the
 * checkpoint, so that weights and gradients are never converted; all other tensors are frozen weights.
 */
export class TrainedParameters extends ParameterReader {
  readonly #isTrained: (name: string) => boolean;
  readonly #inputs = new Map<string, Value>();

  constructor(g: GraphBuilder, weights: WeightSource, isTrained: (name: string) => boolean = () => true) {
    super(g, weights);
    this.#isTrained = isTrained;
  }

  /** Names of the trained tensors that have been requested so far. */
  get trained(): string[] {
    return Array.from(this.#inputs.keys());
  }

  override tensor(name: string, shape: Shape): Value {
    return this.#isTrained(name) ? this.#input(name, shape) : super.tensor(name, shape);
  }

  override joined(
    name: string,
    parts: readonly string[],
    inputs: number,
    outputs: readonly number[],
    options: { bias: boolean; unbiased?: readonly string[] | undefined },
  ): LinearParameters {
    if (!parts.some((part) => this.#hasTrained(part))) {
      return super.joined(name, parts, inputs, outputs, options);
    }
    const { g } = this;
    const weights = parts.map((part, i) => this.tensor(`${part}.weight`, [outputs[i] ?? 0, inputs]));
    const weight = g.transpose(g.concat(weights, 0), [1, 0]);
    return options.bias ? { weight, bias: this.joinedBiases(name, parts, outputs, options) } : { weight };
  }

  override joinedBiases(
    name: string,
    parts: readonly string[],
    outputs: readonly number[],
    options: { readonly unbiased?: readonly string[] | undefined },
  ): Value {
    if (!parts.some((part) => this.#isTrained(`${part}.bias`))) {
      return super.joinedBiases(name, parts, outputs, options);
    }
    const zeros = (size: number) => constantSource("float32", [size], new Float32Array(size));
    const biases = parts.map((part, i) => {
      const size = outputs[i] ?? 0;
      const isZero = options.unbiased?.includes(part);
      return isZero ? this.derived(`${part}.bias`, () => zeros(size)) : this.tensor(`${part}.bias`, [size]);
    });
    return this.g.concat(biases, 0);
  }

  override windows(name: string, outputs: number, window: Shape, options = { bias: true }): LinearParameters {
    if (!this.#hasTrained(name)) return super.windows(name, outputs, window, options);
    const { g } = this;
    const kernel = this.tensor(`${name}.weight`, [outputs, ...window]);
    const weight = g.transpose(g.reshape(kernel, [outputs, elementCount(window)]), [1, 0]);
    return options.bias ? { weight, bias: this.tensor(`${name}.bias`, [outputs]) } : { weight };
  }

  /** Either of weight and bias may be trained alone. */
  #hasTrained(part: string): boolean {
    return this.#isTrained(`${part}.weight`) || this.#isTrained(`${part}.bias`);
  }

  #input(name: string, shape: Shape): Value {
    const known = this.#inputs.get(name);
    if (known) return known;
    this.weights.take(name, shape);
    const input = this.g.input(name, "float32", shape);
    this.#inputs.set(name, input);
    return input;
  }
}
