import { EpalmError } from "../core/errors.js";
import type { Shape } from "../tensor/tensor.js";

/** The shape of a tensor by its timm name; undefined if there is no such tensor. */
export type TensorShapes = (name: string) => Shape | undefined;

/** Settings that a timm checkpoint does not contain. */
export interface TimmSettings {
  readonly heads?: number | undefined;
  /** Width and height in pixels. */
  readonly imageSize?: number | undefined;
  /** `layer_norm_eps`. Default: 1e-6, as in timm's models. */
  readonly epsilon?: number | undefined;
}

/** timm's epsilon, which its checkpoints do not store. */
const TIMM_EPSILON = 1e-6;

/** Head size of nearly all ViTs that were published with timm. */
const USUAL_HEAD_SIZE = 64;

/** The shape of a tensor that `what` requires. @throws `invalid_checkpoint` if it is missing or has another rank */
export function neededShape(shapeOf: TensorShapes, what: string, name: string, rank: number): Shape {
  const shape = shapeOf(name);
  if (shape?.length === rank) return shape;
  throw new EpalmError("invalid_checkpoint", `${what} needs tensor ${name} of ${rank} axes`);
}

/** The config keys that describe the blocks, derived from the shapes of timm-named tensors. */
export function blockKeys(shapeOf: TensorShapes, what: string, width: number, settings: TimmSettings) {
  const [intermediateSize = 0] = neededShape(shapeOf, what, "blocks.0.mlp.fc1.weight", 2);
  let depth = 0;
  while (shapeOf(`blocks.${depth}.norm1.weight`)) depth++;
  return {
    hidden_size: width,
    num_hidden_layers: depth,
    num_attention_heads: settings.heads ?? width / USUAL_HEAD_SIZE,
    intermediate_size: intermediateSize,
    layer_norm_eps: settings.epsilon ?? TIMM_EPSILON,
    qkv_bias: shapeOf("blocks.0.attn.qkv.bias") !== undefined,
  };
}
