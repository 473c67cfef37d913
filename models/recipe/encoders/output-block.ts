import { EpalmError } from "../../../src/index.js";
import { floats, type Tensor } from "../../../src/tensor/tensor.js";
import { filled } from "../../../src/training/index.js";

/** Divisor of the encoder's residual stream: the std of the stream after the last of its six blocks. */
const RESIDUAL_STD = 7.3;

/**
 * Adds a block, whose output is initially zero, to the tensors of a vision transformer (timm's names). What forms the
 * residual stream, and what blocks add to it, is divided by `RESIDUAL_STD`. Each block normalises its input, so all
 * states stay the same; but the output of the new block has an effect at once, whereas it would long be negligible
 * beside a large stream.
 *
 * The norms of the new block are copies of the final norm. The result lacks the tensors that can start from random
 * values: the queries, keys and values of the new block and the first linear layer of its MLP.
 *
 * @param depth number of blocks of the encoder
 * @throws invalid_checkpoint if the encoder has another depth or no final norm
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

/** Whether a tensor forms the residual stream or belongs to the last layer of what is added to it. */
function isAdded(name: string): boolean {
  return /^(cls_token|pos_embed|patch_embed\.|blocks\.\d+\.(attn\.proj|mlp\.fc2)\.)/.test(name);
}

function divided(tensor: Tensor): Tensor {
  return { ...tensor, data: floats(tensor).map((value) => value / RESIDUAL_STD) };
}

function zerosLike({ type, shape, data }: Tensor): Tensor {
  return { type, shape, data: filled([data.length], 0) };
}
