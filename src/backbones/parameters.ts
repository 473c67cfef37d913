import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import type { LinearParameters } from "../layers/linear.js";
import type { LayerNormParameters } from "../layers/norm.js";
import { concatenatedRows, reshaped, transposed } from "../tensor/source-recipes.js";
import { constantSource, type ElementType, elementCount, type Shape, type TensorSource } from "../tensor/tensor.js";

/** Access to tensors by name, for example the `Weights` of a checkpoint. */
export interface WeightSource {
  has(name: string): boolean;
  /** The tensor as float32. @throws `invalid_checkpoint` if it is missing or has another shape */
  take(name: string, shape: Shape): TensorSource;
  takeIfPresent(name: string, shape: Shape): TensorSource | undefined;
  /** The element type in which a tensor is stored; only if the source converts tensors. */
  typeOf?(name: string): ElementType | undefined;
}

/** Linears with the same input, computed as one. */
export interface JoinedLinears {
  readonly name: string;
  /** Names in the checkpoint, in the order of their outputs. */
  readonly parts: readonly string[];
  readonly inputs: number;
  readonly outputs: readonly number[];
}

/** The biases of joined linears. */
export interface JoinedBiases extends Omit<JoinedLinears, "inputs"> {
  /** Parts whose bias is zero. Default: none. */
  readonly unbiased?: readonly string[] | undefined;
}

/** Adds the parameters of a checkpoint to a graph, with the names that they have in the checkpoint. */
export class ParameterReader {
  readonly g: GraphBuilder;
  readonly weights: WeightSource;
  readonly #values = new Map<string, Value>();

  constructor(g: GraphBuilder, weights: WeightSource) {
    this.g = g;
    this.weights = weights;
  }

  tensor(name: string, shape: readonly number[]): Value {
    return this.#once(name, () => this.weights.take(name, shape));
  }

  /** A tensor that is computed from others of the checkpoint when the graph is written. It is never trained. */
  derived(name: string, read: () => TensorSource): Value {
    return this.#once(name, read);
  }

  /** `NAME.weight` [out, in] (transposed to [in, out]) and `NAME.bias` [out]. */
  linear(name: string, inputs: number, outputs: number, options: { bias: boolean }): LinearParameters {
    return this.joined(name, [name], inputs, [outputs], options);
  }

  /** Several linears with the same input as one linear, whose output concatenates theirs. */
  joined(
    name: string,
    parts: readonly string[],
    inputs: number,
    outputs: readonly number[],
    options: { bias: boolean; unbiased?: readonly string[] | undefined },
  ): LinearParameters {
    const linears = { name, parts, inputs, outputs };
    const weight = this.#once(`${name}.weight`, () => this.joinedWeight(linears));
    return options.bias ? { weight, bias: this.joinedBiases(name, parts, outputs, options) } : { weight };
  }

  /** The biases of several linears as one tensor [all outputs], with zeros for those without a bias. */
  joinedBiases(
    name: string,
    parts: readonly string[],
    outputs: readonly number[],
    { unbiased }: { readonly unbiased?: readonly string[] | undefined },
  ): Value {
    return this.#once(`${name}.bias`, () => this.joinedBias({ name, parts, outputs, unbiased }));
  }

  /**
   * `NAME.weight` [out, ...window] and `NAME.bias` [out] of a convolution, as a linear on flattened windows.
   */
  windows(name: string, outputs: number, window: Shape, options: { bias: boolean } = { bias: true }): LinearParameters {
    const inputs = elementCount(window);
    const kernel = () => this.weights.take(`${name}.weight`, [outputs, ...window]);
    const weight = this.#once(`${name}.weight`, () => transposed(reshaped(kernel(), [outputs, inputs])));
    return options.bias ? { weight, bias: this.tensor(`${name}.bias`, [outputs]) } : { weight };
  }

  /** [in, all outputs], from parts that a checkpoint stores as [out, in]. */
  protected joinedWeight({ parts, inputs, outputs }: JoinedLinears): TensorSource {
    const sources = parts.map((part, i) => this.weights.take(`${part}.weight`, [outputs[i] ?? 0, inputs]));
    return transposed(concatenatedRows(sources));
  }

  /** [all outputs] */
  protected joinedBias({ parts, outputs, unbiased = [] }: JoinedBiases): TensorSource {
    const bias = (part: string, size: number) =>
      unbiased.includes(part)
        ? constantSource("float32", [size], new Float32Array(size))
        : this.weights.take(`${part}.bias`, [size]);
    return concatenatedRows(parts.map((part, i) => bias(part, outputs[i] ?? 0)));
  }

  layerNorm(name: string, width: number, epsilon: number): LayerNormParameters {
    return {
      scale: this.tensor(`${name}.weight`, [width]),
      bias: this.tensor(`${name}.bias`, [width]),
      epsilon,
    };
  }

  #once(name: string, read: () => TensorSource): Value {
    const known = this.#values.get(name) ?? this.g.weight(name, read());
    this.#values.set(name, known);
    return known;
  }
}
