import { EpalmError } from "../core/errors.js";
import type { Shape } from "../tensor/tensor.js";

/** The shape of a timm-named tensor; undefined if there is none. */
export type TensorShapes = (name: string) => Shape | undefined;

/** What a timm checkpoint does not say of itself. */
export interface TimmSettings {
  readonly heads?: number | undefined;
  /** Pixels. */
  readonly imageSize?: number | undefined;
  /** `layer_norm_eps`; timm's models use 1e-6. */
  readonly epsilon?: number | undefined;
}

/** timm's epsilon: its checkpoints state none. */
const TIMM_EPSILON = 1e-6;

/** Every ViT that was published in timm, but for a few, has heads of this size. */
const USUAL_HEAD_SIZE = 64;

/** The shape of a tensor that `what` cannot be without; throws `invalid_checkpoint`. */
export function neededShape(shapeOf: TensorShapes, what: string, name: string, rank: number): Shape {
  const shape = shapeOf(name);
  if (shape?.length === rank) return shape;
  throw new EpalmError("invalid_checkpoint", `${what} needs tensor ${name} of ${rank} axes`);
}

/** The keys of a config that tell of blocks, from the shapes of timm-named tensors. */
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
