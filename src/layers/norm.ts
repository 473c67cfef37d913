import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";

export interface LayerNormParameters {
  /** [d] */
  readonly scale: Value;
  /** [d] */
  readonly bias: Value;
  readonly epsilon: number;
}

/** x [..., d]: normalises each vector to mean 0 and variance 1, then scales and shifts it. */
export function layerNorm(g: GraphBuilder, x: Value, { scale, bias, epsilon }: LayerNormParameters): Value {
  return g.layerNorm(x, scale, bias, epsilon);
}

export interface RmsNormParameters {
  /** [d] */
  readonly scale: Value;
  readonly epsilon: number;
}

/**
 * x [..., d]: divides each vector by its root mean square, then scales it (Zhang and Sennrich 2019). ONNX Runtime
 * fuses these operators into one kernel.
 */
export function rmsNorm(g: GraphBuilder, x: Value, { scale, epsilon }: RmsNormParameters): Value {
  const meanSquare = g.mean(g.power(x, g.number(2)), -1);
  const root = g.squareRoot(g.add(meanSquare, g.number(epsilon)));
  return g.multiply(g.divide(x, root), scale);
}
