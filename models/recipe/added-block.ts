import type { Tensor } from "../../src/tensor/tensor.js";
import { filled } from "../../src/training/distributions.js";

/** What an encoder's residual stream is divided by: its deviation behind the last of six blocks was 7.3. */
const STREAM = 7.3;

/**
 * Tensors of a vision transformer with one block more, which says nothing yet, by timm's names. What blocks add to the
 * residual stream, and what it begins with, is divided by `STREAM`. Each block norms what it takes, so every state stays
 * as it was; but what the new block adds counts at once, where beside a large stream it would for long be as nothing.
 *
 * The new block's norms begin as the final one. Left out is what may begin at random: its queries, keys, values, and the
 * first linear of its MLP.
 *
 * @param depth blocks that there are
 */
export function withAddedBlock(
  tensors: ReadonlyMap<string, Tensor>,
  depth: number,
): ReadonlyMap<string, Tensor> {
  const all = new Map(
    Array.from(tensors, ([name, tensor]) => [name, isAdded(name) ? divided(tensor) : tensor] as const),
  );
  for (const kind of ["weight", "bias"]) {
    for (const norm of ["norm1", "norm2"]) {
      const final = tensors.get(`norm.${kind}`);
      if (final) all.set(`blocks.${depth}.${norm}.${kind}`, final);
    }
    for (const linear of ["attn.proj", "mlp.fc2"]) {
      const before = tensors.get(`blocks.${depth - 1}.${linear}.${kind}`);
      if (before) all.set(`blocks.${depth}.${linear}.${kind}`, nought(before));
    }
  }
  return all;
}

/** Whether a tensor makes the residual stream, or is the last of what adds to it. */
function isAdded(name: string): boolean {
  return /^(cls_token|pos_embed|patch_embed\.|blocks\.\d+\.(attn\.proj|mlp\.fc2)\.)/.test(name);
}

function divided({ type, shape, data }: Tensor): Tensor {
  return { type, shape, data: Float32Array.from(data as Float32Array, (value) => value / STREAM) };
}

function nought({ type, shape, data }: Tensor): Tensor {
  return { type, shape, data: filled([data.length], 0) };
}
