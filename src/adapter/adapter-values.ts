import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";

/** An adapter's tensors as values of a graph: weights in an adapter that is used, inputs in one that is trained. */
export type AdapterValues = (name: string) => Value;

/** x [..., in] -> x W^T + b [..., out], with `NAME.weight` [out, in] and `NAME.bias` [out]. */
export function project(g: GraphBuilder, x: Value, values: AdapterValues, name: string): Value {
  const product = g.matmul(x, g.transpose(values(`${name}.weight`), [1, 0]));
  return g.add(product, values(`${name}.bias`));
}
