import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";

export interface LinearParameters {
  /** [in, out]. Weights that checkpoints store as [out, in] are transposed when they are read. */
  readonly weight: Value;
  /** [out] */
  readonly bias?: Value | undefined;
}

/** x [..., in] -> x W + b [..., out] */
export function linear(g: GraphBuilder, x: Value, { weight, bias }: LinearParameters): Value {
  const product = g.matmul(x, weight);
  return bias ? g.add(product, bias) : product;
}
