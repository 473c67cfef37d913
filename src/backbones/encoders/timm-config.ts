import { EpalmError } from "../../core/errors.js";
import type { Shape } from "../../tensor/tensor.js";

/** The shape of a tensor by its timm name; undefined if there is no such tensor. */
export type TensorShapes = (name: string) => Shape | undefined;

/** Settings that a timm checkpoint does not contain. */
export interface TimmSettings {
  /** Default: that of the published encoders of the same width; required for other widths. */
  readonly heads?: number | undefined;
  /** The file or folder, for messages. */
  readonly path?: string | undefined;
  /** Width and height in pixels. */
  readonly imageSize?: number | undefined;
  /**
   * Width and height in pixels of a checkpoint whose patches need not divide them. Default: those that the patches
   * cover.
   */
  readonly inputSize?: number | undefined;
  /** `hidden_act`. Default: that of the architecture. */
  readonly activation?: string | undefined;
  /** `layer_norm_eps`. Default: 1e-6, as in timm's models. */
  readonly epsilon?: number | undefined;
}

/** timm's epsilon, which its checkpoints do not store. */
const TIMM_EPSILON = 1e-6;

/**
 * Attention heads of the published encoders by width: ViT (arXiv 2010.11929, 2106.04560, 2303.15343), DeiT, MAE,
 * OpenCLIP, AST and TimeSformer. Weights do not contain this number, and a wrong one changes every state without an
 * error. The sizes of a head differ: 64 up to ViT-L, then 80 (ViT-H), 88 (g), 104 (G) and 72 (So400m).
 */
const PUBLISHED_HEADS: ReadonlyMap<number, number> = new Map([
  [192, 3],
  [384, 6],
  [768, 12],
  [1024, 16],
  [1152, 16],
  [1280, 16],
  [1408, 16],
  [1664, 16],
]);

/** timm's first ViT-S had the width of a ViT-B, 8 blocks and 8 heads, and scaled its scores differently. */
const isFirstSmall = (width: number, depth: number) => width === 768 && depth === 8;

/** The given or published number of heads. @throws `invalid_option` for a shape that is not a published one */
function headsOf(what: string, width: number, depth: number, { heads, path }: TimmSettings): number {
  const published = isFirstSmall(width, depth) ? undefined : PUBLISHED_HEADS.get(width);
  const known = heads ?? published;
  if (known !== undefined) return known;
  throw new EpalmError(
    "invalid_option",
    `heads: expected the number of attention heads of ${path ?? what}, because the file does not contain it and no ` +
      `published encoder has this shape (width ${width}, depth ${depth}); got nothing`,
  );
}

/** The shape of a tensor that `what` requires. @throws `invalid_checkpoint` if it is missing or has another rank */
export function neededShape(shapeOf: TensorShapes, what: string, name: string, rank: number): Shape {
  const shape = shapeOf(name);
  if (shape?.length === rank) return shape;
  throw new EpalmError("invalid_checkpoint", `${what} needs tensor ${name} of ${rank} axes`);
}

/**
 * The config keys that describe the blocks, derived from the shapes of timm-named tensors.
 *
 * @throws `invalid_checkpoint` for a missing tensor; `invalid_option` if the number of heads must be given
 */
export function blockKeys(shapeOf: TensorShapes, what: string, width: number, settings: TimmSettings) {
  const [intermediateSize = 0] = neededShape(shapeOf, what, "blocks.0.mlp.fc1.weight", 2);
  let depth = 0;
  while (shapeOf(`blocks.${depth}.norm1.weight`)) depth++;
  return {
    hidden_size: width,
    num_hidden_layers: depth,
    num_attention_heads: headsOf(what, width, depth, settings),
    intermediate_size: intermediateSize,
    layer_norm_eps: settings.epsilon ?? TIMM_EPSILON,
    qkv_bias: ["qkv", "q"].some((part) => shapeOf(`blocks.0.attn.${part}.bias`) !== undefined),
  };
}
