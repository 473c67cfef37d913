import { EpalmError } from "../../../src/index.js";
import { floats, type Tensor } from "../../../src/tensor/tensor.js";
import { filled } from "../../../src/training/index.js";

/** What an encoder's residual stream is divided by: so much it deviated behind the last of six blocks. */
const RESIDUAL_STD = 7.3;

/**
 * Tensors of a vision transformer with one block more, which says nothing yet, by timm's names. What blocks add to the
 * residual stream, and what it begins with, is divided by `RESIDUAL_STD`. Each block norms what it takes, so every state stays
 * as it was; but what the new block adds counts at once, where beside a large stream it would for long be as nothing.
 *
 * The new block's norms begin as the final one. Left out is what may begin at random: its queries, keys, values, and the
 * first linear of its MLP.
 *
 * @param depth blocks that there are
 * @throws invalid_checkpoint where they are others
 */
export function withOutputBlock(tensors: ReadonlyMap<string, Tensor>, depth: number): ReadonlyMap<string, Tensor> {
  const all = new Map(
    Array.from(tensors, ([name, tensor]) => [name, isAdded(name) ? divided(tensor) : tensor] as const),
  );
  for (const kind of ["weight", "bias"]) {
    for (const norm of ["norm1", "norm2"]) {
      all.set(`blocks.${depth}.${norm}.${kind}`, needed(tensors, `norm.${kind}`));
    }
    for (const linear of ["attn.proj", "mlp.fc2"]) {
      const before = needed(tensors, `blocks.${depth - 1}.${linear}.${kind}`);
      all.set(`blocks.${depth}.${linear}.${kind}`, zerosLike(before));
    }
  }
  return all;
}

function needed(tensors: ReadonlyMap<string, Tensor>, name: string): Tensor {
  const tensor = tensors.get(name);
  if (tensor) return tensor;
  throw new EpalmError("invalid_checkpoint", `encoder: tensor ${name} is missing`);
}

/** Whether a tensor makes the residual stream, or is the last of what adds to it. */
function isAdded(name: string): boolean {
  return /^(cls_token|pos_embed|patch_embed\.|blocks\.\d+\.(attn\.proj|mlp\.fc2)\.)/.test(name);
}

function divided(tensor: Tensor): Tensor {
  return { ...tensor, data: floats(tensor).map((value) => value / RESIDUAL_STD) };
}

function zerosLike({ type, shape, data }: Tensor): Tensor {
  return { type, shape, data: filled([data.length], 0) };
}
