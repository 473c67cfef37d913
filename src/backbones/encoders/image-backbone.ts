import { unexpected } from "../../core/errors.js";
import type { Value } from "../../graph/ir.js";
import { layerNorm } from "../../layers/norm.js";
import type { PatchBackbone, PatchStates } from "../backbone.js";
import type { ParameterReader } from "../parameters.js";
import { type TokenPooling, throughBlocks } from "./through-blocks.js";
import type { BlockShape } from "./vit-block.js";

/**
 * The input size in pixels: the chosen one, otherwise the usual one.
 *
 * @throws invalid_option if the patch size does not divide the chosen one
 */
export function inputSize(chosen: number | undefined, usual: number, patch: number): number {
  if (chosen === undefined || chosen % patch === 0) return chosen ?? usual;
  throw unexpected("invalid_option", "imageSize", `a multiple of the patch size, ${patch}`, `${chosen}`);
}

export interface ImageBackboneParts {
  readonly architecture: string;
  /** Width and height in pixels. */
  readonly imageSize: number;
  readonly depth: number;
  readonly shape: BlockShape;
  readonly pooling: TokenPooling;
  /** pixels [B, 3, H, W] -> input of the first block [B, special + N, d], the class token first. */
  enter(pixels: Value): Value;
  block(index: number, x: Value): Value;
}

/** An image encoder whose blocks are followed by one final norm, `norm`, unless its pooling replaces the norm. */
export function imageBackbone(parameters: ParameterReader, parts: ImageBackboneParts): PatchBackbone {
  const { g } = parameters;
  const { imageSize, depth, shape, pooling } = parts;
  const { width, epsilon } = shape;

  function through(pixels: Value): PatchStates {
    const { classTokens, last } = throughBlocks(parameters, shape, depth, parts.enter(pixels), parts.block, pooling);
    function patches(): Value {
      const tokens = g.slice(last, 1, pooling.special);
      return pooling.state ? tokens : layerNorm(g, tokens, parameters.layerNorm("norm", width, epsilon));
    }
    return { classTokens, patches };
  }

  return {
    architecture: parts.architecture,
    modality: "image",
    inputShape: [3, imageSize, imageSize],
    depth,
    width,
    states: (pixels) => through(pixels).classTokens,
    through,
  };
}

/** The class token [1, 1, d] and registers [1, n, d] for each image of `patches` [B, N, d], before the patches. */
export function withSpecialTokens(
  parameters: ParameterReader,
  classToken: Value,
  registers: number,
  patches: Value,
): Value {
  const { g, weights } = parameters;
  const width = Number(patches.shape.at(-1));
  const tokens = [classToken];
  if (registers > 0) tokens.push(parameters.tensor("reg_token", [1, registers, width]));
  // A checkpoint without registers may contain an empty tensor.
  else weights.takeIfPresent("reg_token", [1, 0, width]);
  return g.concat([...tokens.map((token) => g.repeatFor(token, patches)), patches], 1);
}
