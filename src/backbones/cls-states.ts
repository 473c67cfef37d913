import type { Value } from "../graph/ir.js";
import { layerNorm } from "../layers/norm.js";
import type { ParameterReader } from "./parameters.js";
import type { BlockShape } from "./vit-block.js";

/**
 * Runs all blocks over x [B, T, d], the class token first; the class token after each of them, through the encoder's
 * own final norm: [B, depth, d], first block first.
 */
export function clsStates(
  parameters: ParameterReader,
  { width, epsilon }: BlockShape,
  depth: number,
  x: Value,
  block: (index: number, x: Value) => Value,
): Value {
  const { g } = parameters;
  let hidden = x;
  const states = Array.from({ length: depth }, (_, index) => {
    hidden = block(index, hidden);
    return layerNorm(g, g.slice(hidden, 1, 0, 1), parameters.layerNorm("norm", width, epsilon));
  });
  return g.concat(states, 1);
}
