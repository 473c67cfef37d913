import type { Value } from "../../graph/ir.js";
import { layerNorm } from "../../layers/norm.js";
import type { EncoderSettings, Pooling } from "../backbone.js";
import type { ParameterReader } from "../parameters.js";
import type { BlockShape } from "./vit-block.js";

/** Outputs of the blocks of a transformer over patches. */
export interface BlockOutputs {
  /** The class token, or the mean of the patches, after each block and the final norm: [B, depth, d]. */
  readonly classTokens: Value;
  /** All tokens after the last block, before the final norm: [B, T, d] */
  readonly last: Value;
}

/** How the tokens after a block become one state. */
export interface TokenPooling {
  /** `cls` requires that the first token is the class token. */
  readonly pooling: Exclude<Pooling, "attention">;
  /** Number of tokens before the patches: the class token, then registers. */
  readonly special: number;
  /** Replaces the final norm and the pooling: tokens [B, T, d] -> [B, 1, d]. */
  readonly state?: (tokens: Value) => Value;
}

/** The pooling by tokens that an encoder's settings ask for. */
export function tokenPooling(
  { pooling }: EncoderSettings,
  special: number,
  usual: "cls" | "mean" = "cls",
): TokenPooling {
  return { pooling: pooling === "cls" || pooling === "mean" ? pooling : usual, special };
}

/** Applies all blocks to x [B, T, d], and pools the tokens after each of them. */
export function throughBlocks(
  parameters: ParameterReader,
  { width, epsilon }: BlockShape,
  depth: number,
  x: Value,
  block: (index: number, x: Value) => Value,
  { pooling, special, state: replaced }: TokenPooling,
): BlockOutputs {
  const { g } = parameters;
  const norm = (tokens: Value) => layerNorm(g, tokens, parameters.layerNorm("norm", width, epsilon));
  const state = (tokens: Value) =>
    pooling === "cls"
      ? norm(g.slice(tokens, 1, 0, 1))
      : g.mean(norm(special ? g.slice(tokens, 1, special) : tokens), 1);
  let last = x;
  const states = Array.from({ length: depth }, (_, index) => {
    last = block(index, last);
    return (replaced ?? state)(last);
  });
  return { classTokens: g.concat(states, 1), last };
}
