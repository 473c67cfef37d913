import type { Value } from "../graph/ir.js";
import { layerNorm } from "../layers/norm.js";
import type { ParameterReader } from "./parameters.js";
import type { BlockShape } from "./vit-block.js";

/** Outputs of the blocks of a transformer over patches. */
export interface BlockOutputs {
  /** The class token after each block and the encoder's final norm: [B, depth, d], first block first. */
  readonly classTokens: Value;
  /** All tokens after the last block, before the final norm: [B, T, d] */
  readonly last: Value;
}

/** Applies all blocks to x [B, T, d], whose first token is the class token. */
export function throughBlocks(
  parameters: ParameterReader,
  { width, epsilon }: BlockShape,
  depth: number,
  x: Value,
  block: (index: number, x: Value) => Value,
): BlockOutputs {
  const { g } = parameters;
  let last = x;
  const states = Array.from({ length: depth }, (_, index) => {
    last = block(index, last);
    return layerNorm(g, g.slice(last, 1, 0, 1), parameters.layerNorm("norm", width, epsilon));
  });
  return { classTokens: g.concat(states, 1), last };
}
