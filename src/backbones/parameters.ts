import type { Weights } from "../checkpoints/weights.js";
import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import type { LinearParameters } from "../layers/linear.js";
import type { LayerNormParameters } from "../layers/norm.js";
import { concatenatedRows, transposed } from "../tensor/source-recipes.js";

/** Reads parameters by their checkpoint names into a graph; names in the graph are the same. */
export class ParameterReader {
  constructor(
    readonly g: GraphBuilder,
    readonly weights: Weights,
  ) {}

  tensor(name: string, shape: readonly number[]): Value {
    return this.#once(name, () => this.weights.take(name, shape));
  }

  /** `NAME.weight` [out, in] (turned to [in, out]) and `NAME.bias` [out]. */
  linear(name: string, inputs: number, outputs: number, options: { bias: boolean }): LinearParameters {
    return this.joined(name, [name], inputs, [outputs], options);
  }

  /** Several linears over the same input, as one: their outputs stand side by side. */
  joined(
    name: string,
    parts: readonly string[],
    inputs: number,
    outputs: readonly number[],
    options: { bias: boolean },
  ): LinearParameters {
    const weight = this.#once(`${name}.weight`, () =>
      transposed(
        concatenatedRows(
          parts.map((part, i) => this.weights.take(`${part}.weight`, [outputs[i] ?? 0, inputs])),
        ),
      ),
    );
    if (!options.bias) return { weight };
    const bias = this.#once(`${name}.bias`, () =>
      concatenatedRows(parts.map((part, i) => this.weights.take(`${part}.bias`, [outputs[i] ?? 0]))),
    );
    return { weight, bias };
  }

  layerNorm(name: string, width: number, epsilon: number): LayerNormParameters {
    return {
      scale: this.tensor(`${name}.weight`, [width]),
      bias: this.tensor(`${name}.bias`, [width]),
      epsilon,
    };
  }

  readonly #values = new Map<string, Value>();

  #once(name: string, read: () => Parameters<GraphBuilder["weight"]>[1]): Value {
    const known = this.#values.get(name) ?? this.g.weight(name, read());
    this.#values.set(name, known);
    return known;
  }
}
