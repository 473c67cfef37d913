import { z } from "zod";
import type { Value } from "../../graph/ir.js";
import { activationName } from "../../layers/activation.js";
import { layerNorm } from "../../layers/norm.js";
import type { EncoderSettings, PatchBackbone } from "../backbone.js";
import { count, headLayout, layerCount, parseConfig, squareSide, visionKeys } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { imageBackbone } from "./image-backbone.js";
import { tokenPooling } from "./through-blocks.js";
import { blockKeys, neededShape, type TensorShapes, type TimmSettings } from "./timm-config.js";
import { embedPatches } from "./vit.js";
import { type BlockShape, vitBlock } from "./vit-block.js";

/**
 * The image encoder of CLIP (Radford et al. 2021, arXiv 2103.00020) and OpenCLIP: a vision transformer with a norm
 * before its blocks and patches without a bias. Its states are those before the projection into the space that images
 * and texts share. It uses timm's tensor names; `clipName` converts those of transformers (`modeling_clip.py`) and of
 * open_clip (`transformer.py`).
 */

export const clipConfig = z.object({
  model_type: z.enum(["clip", "clip_vision_model"]),
  // The defaults are those of CLIPVisionConfig, which older files omit.
  hidden_size: count.default(768),
  num_hidden_layers: layerCount.default(12),
  num_attention_heads: count.default(12),
  intermediate_size: count.default(3072),
  image_size: squareSide.default(224),
  patch_size: squareSide.default(32),
  num_channels: z.literal(3).default(3),
  hidden_act: z.string().default("quick_gelu"),
  layer_norm_eps: z.number().positive().default(1e-5),
});

export type ClipConfig = z.infer<typeof clipConfig>;

/** torch's epsilon, which open_clip and timm's models of CLIP use. */
const CLIP_EPSILON = 1e-5;

/** Names of tensors outside the blocks in transformers and open_clip, and timm's. */
const outerNames: Readonly<Record<string, string>> = {
  "embeddings.class_embedding": "class_embedding",
  "embeddings.patch_embedding.weight": "patch_embed.proj.weight",
  "embeddings.patch_embedding.bias": "patch_embed.proj.bias",
  "embeddings.position_embedding.weight": "position_embedding",
  "pre_layrnorm.weight": "norm_pre.weight",
  "pre_layrnorm.bias": "norm_pre.bias",
  "post_layernorm.weight": "norm.weight",
  "post_layernorm.bias": "norm.bias",
  "conv1.weight": "patch_embed.proj.weight",
  positional_embedding: "position_embedding",
  "ln_pre.weight": "norm_pre.weight",
  "ln_pre.bias": "norm_pre.bias",
  "ln_post.weight": "norm.weight",
  "ln_post.bias": "norm.bias",
};

/** Names of a block's parts in transformers and open_clip, and timm's. */
const blockNames: Readonly<Record<string, string>> = {
  layer_norm1: "norm1",
  layer_norm2: "norm2",
  "self_attn.q_proj": "attn.q",
  "self_attn.k_proj": "attn.k",
  "self_attn.v_proj": "attn.v",
  "self_attn.out_proj": "attn.proj",
  ln_1: "norm1",
  ln_2: "norm2",
  "attn.in_proj": "attn.qkv",
  "attn.out_proj": "attn.proj",
  "mlp.c_fc": "mlp.fc1",
  "mlp.c_proj": "mlp.fc2",
};

/** The first tensor of the image encoder in the names of transformers, open_clip and timm, after any prefix. */
export const clipFirstTensor = /^(|.*\.)(?:embeddings\.patch_embedding|conv1|patch_embed\.proj)\.weight$/;

/** Projections, the text encoder, classifiers, and positions stored as a list of integers. */
const ignored = /^(proj$|text_|visual_projection\.|logit_\w+$|head\.|classifier\.|embeddings\.position_ids$)/;

/** timm's name of a tensor; undefined if the tensor is not part of the image encoder. */
export function clipName(name: string): string | undefined {
  const [, index, part = "", kind] =
    /^(?:encoder\.layers|transformer\.resblocks|blocks)\.(\d+)\.(.+)[._](weight|bias)$/.exec(name) ?? [];
  if (index !== undefined) return `blocks.${index}.${blockNames[part] ?? part}.${kind}`;
  return outerNames[name] ?? (ignored.test(name) ? undefined : name);
}

/** The side of an image in pixels, for a number of patches: as given, if it has that many, or what they cover. */
export function imageSide(patches: number, patch: number, { inputSize }: TimmSettings): number {
  const side = Math.sqrt(patches);
  return inputSize !== undefined && Math.floor(inputSize / patch) === side ? inputSize : side * patch;
}

/** Number of rows of position embeddings, which timm stores with a batch axis. */
export function positionCount(shapeOf: TensorShapes, what: string): number {
  const timm = shapeOf("pos_embed");
  return timm?.[1] ?? neededShape(shapeOf, what, "position_embedding", 2)[0] ?? 0;
}

/**
 * A config derived from the shapes of tensors. Nothing in the weights determines the activation: it is that of the
 * library whose names the tensors have, quick_gelu for transformers and gelu for open_clip and timm.
 */
export function clipConfigFromTensors(shapeOf: TensorShapes, settings: TimmSettings = {}): ClipConfig {
  const what = "CLIP's image encoder";
  const [width = 0, , patch = 0] = neededShape(shapeOf, what, "patch_embed.proj.weight", 4);
  const isTransformers = shapeOf("blocks.0.attn.q.weight") !== undefined;
  return parseConfig(
    clipConfig,
    {
      model_type: "clip_vision_model",
      ...blockKeys(shapeOf, what, width, { epsilon: CLIP_EPSILON, ...settings }),
      image_size: imageSide(positionCount(shapeOf, what) - 1, patch, settings),
      patch_size: patch,
      hidden_act: settings.activation ?? (isTransformers ? "quick_gelu" : "gelu"),
    },
    what,
  );
}

/** The part of an image that its patches cover; the rest, smaller than a patch, has no influence. */
export function coveredPixels(
  { g }: ParameterReader,
  pixels: Value,
  { image_size, patch_size }: Pick<ClipConfig, "image_size" | "patch_size">,
): { readonly pixels: Value; readonly side: number } {
  const side = Math.floor(image_size / patch_size);
  const covered = side * patch_size;
  if (covered === image_size) return { pixels, side };
  return { pixels: g.slice(g.slice(pixels, 2, 0, covered), 3, 0, covered), side };
}

/** Position embeddings [1, tokens, d] (timm) or [tokens, d]. */
export function positions(parameters: ParameterReader, tokens: number, d: number): Value {
  return parameters.weights.has("pos_embed")
    ? parameters.tensor("pos_embed", [1, tokens, d])
    : parameters.tensor("position_embedding", [tokens, d]);
}

export function clip(json: unknown, parameters: ParameterReader, settings: EncoderSettings = {}): PatchBackbone {
  const config = parseConfig(clipConfig, visionKeys(json), "CLIP");
  const { g, weights } = parameters;
  const { hidden_size: d, patch_size, layer_norm_eps: epsilon } = config;
  const shape: BlockShape = {
    width: d,
    layout: headLayout("CLIP", "num_attention_heads", { width: d, heads: config.num_attention_heads }),
    intermediateSize: config.intermediate_size,
    activation: activationName(config.hidden_act, "hidden_act"),
    epsilon,
    qkvBias: true,
  };

  /** [1, 1, d] */
  function classToken(): Value {
    if (weights.has("cls_token")) return parameters.tensor("cls_token", [1, 1, d]);
    return g.reshape(parameters.tensor("class_embedding", [d]), [1, 1, d]);
  }

  /** Input of the first block: [B, 1 + N, d], the class token first. */
  function enter(image: Value): Value {
    const { pixels, side } = coveredPixels(parameters, image, config);
    const sizes = { image_size: side * patch_size, patch_size, hidden_size: d };
    const patches = embedPatches(parameters, pixels, sizes, { bias: weights.has("patch_embed.proj.bias") });
    const tokens = g.concat([g.repeatFor(classToken(), patches), patches], 1);
    const placed = g.add(tokens, positions(parameters, 1 + side * side, d));
    return layerNorm(g, placed, parameters.layerNorm("norm_pre", d, epsilon));
  }

  return imageBackbone(parameters, {
    architecture: "clip",
    imageSize: config.image_size,
    depth: config.num_hidden_layers,
    shape,
    pooling: tokenPooling(settings, 1),
    enter,
    block: (index, x) => vitBlock(parameters, `blocks.${index}`, x, shape),
  });
}
