import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import type { Value } from "../../graph/ir.js";
import { activationName } from "../../layers/activation.js";
import type { EncoderSettings, PatchBackbone } from "../backbone.js";
import { count, headLayout, layerCount, parseConfig, squareSide } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { dinoName } from "./dino-names.js";
import { imageBackbone, inputSize, withSpecialTokens } from "./image-backbone.js";
import { resizedPositions } from "./positions.js";
import { tokenPooling } from "./through-blocks.js";
import { blockKeys, neededShape, type TensorShapes, type TimmSettings } from "./timm-config.js";
import { embedPatches, patchesPerSide } from "./vit.js";
import { type BlockShape, vitBlock } from "./vit-block.js";

/**
 * DINOv2 (Oquab et al. 2023, arXiv 2304.07193), without or with register tokens (Darcet et al. 2023, arXiv 2309.16588):
 * a ViT whose residuals are scaled per channel, with a gated feed-forward in the giant model. It follows
 * `vision_transformer.py` of facebookresearch/dinov2, `modeling_dinov2.py` and `modeling_dinov2_with_registers.py` of
 * transformers and timm's `vit_*_dinov2`, and uses timm's tensor names.
 *
 * Positions were trained for 518 pixels and are interpolated for other sizes, as the source of the weights does.
 */

export const dinov2Config = z.object({
  model_type: z.enum(["dinov2", "dinov2_with_registers"]),
  hidden_size: count.default(768),
  num_hidden_layers: layerCount.default(12),
  num_attention_heads: count.default(12),
  mlp_ratio: z.number().positive().default(4),
  hidden_act: z.string().default("gelu"),
  layer_norm_eps: z.number().positive().default(1e-6),
  /** Pixels of the images for which the checkpoint has positions. */
  image_size: squareSide.default(224),
  /** Default: 14, or 16 with registers. */
  patch_size: squareSide.optional(),
  num_channels: z.literal(3).default(3),
  qkv_bias: z.boolean().default(true),
  use_swiglu_ffn: z.boolean().default(false),
  num_register_tokens: z.int().min(0).default(4),
  /** The following keys describe weights without a config; transformers' files do not have them. */
  intermediate_size: count.optional(),
  /** Whether the class token has no position. */
  no_embed_class: z.boolean().default(false),
  position_interpolation: z.enum(["size", "offset", "antialias"]).optional(),
});

export type Dinov2Config = z.infer<typeof dinov2Config>;

/** The published models have positions for the first size, but are evaluated, and preprocess images, at the second. */
const TRAINED_SIZE = 518;
const USUAL_SIZE = 224;

/** Heads of the giant model; those of the others are the same as in a ViT. */
const GIANT = { width: 1536, heads: 24 };

/** timm's name of a tensor; undefined if the tensor is not part of the backbone. */
export function dinov2Name(name: string): string | undefined {
  // It is not part of the states, but distinguishes the published files from timm's.
  return /^((dinov2|model|module)\.)?mask_token$/.test(name) ? "mask_token" : dinoName(name);
}

/**
 * A config derived from the shapes of the tensors in a published `.pth` or a file of timm. Only the published files
 * contain a mask token; timm's filter is widened when positions are reduced, and so is the published one if there are
 * registers.
 */
export function dinov2ConfigFromTensors(shapeOf: TensorShapes, settings: TimmSettings = {}): Dinov2Config {
  const what = "a DINOv2";
  const [width = 0, , patch = 0] = neededShape(shapeOf, what, "patch_embed.proj.weight", 4);
  const [, tokens = 0] = neededShape(shapeOf, what, "pos_embed", 3);
  const [, inner = 0] = neededShape(shapeOf, what, "blocks.0.mlp.fc2.weight", 2);
  const [, registers = 0] = shapeOf("reg_token") ?? [];
  const onlyPatches = Number.isInteger(Math.sqrt(tokens));
  const heads = settings.heads ?? (width === GIANT.width ? GIANT.heads : undefined);
  const keys = blockKeys(shapeOf, what, width, { ...settings, heads });
  return parseConfig(
    dinov2Config,
    {
      ...keys,
      model_type: registers > 0 ? "dinov2_with_registers" : "dinov2",
      image_size: Math.sqrt(onlyPatches ? tokens : tokens - 1) * patch,
      patch_size: patch,
      use_swiglu_ffn: keys.intermediate_size === 2 * inner,
      intermediate_size: inner,
      num_register_tokens: registers,
      no_embed_class: onlyPatches,
      position_interpolation: shapeOf("mask_token") && registers === 0 ? "offset" : "antialias",
    },
    what,
  );
}

/** Width of the feed-forward; a gated one has two thirds of it, rounded up to a multiple of 8. */
function intermediateSize({ hidden_size, mlp_ratio, use_swiglu_ffn, intermediate_size }: Dinov2Config): number {
  const plain = Math.trunc(hidden_size * mlp_ratio);
  const gated = Math.floor((Math.trunc((plain * 2) / 3) + 7) / 8) * 8;
  return intermediate_size ?? (use_swiglu_ffn ? gated : plain);
}

/** @param settings `imageSize` may differ from the size for which the checkpoint has positions */
export function dinov2(json: unknown, parameters: ParameterReader, settings: EncoderSettings = {}): PatchBackbone {
  const config = parseConfig(dinov2Config, json, "DINOv2");
  const { g, weights } = parameters;
  const { hidden_size: d, num_attention_heads: heads } = config;
  const hasRegisters = config.model_type === "dinov2_with_registers";
  const patch = config.patch_size ?? (hasRegisters ? 16 : 14);
  const usual = config.image_size === TRAINED_SIZE ? USUAL_SIZE : config.image_size;
  const imageSize = inputSize(settings.imageSize, usual, patch);
  const size = { hidden_size: d, image_size: imageSize, patch_size: patch };
  const [from, to] = [Math.floor(config.image_size / patch), patchesPerSide(size, "DINOv2")];
  const registers = hasRegisters ? config.num_register_tokens : 0;
  const shape: BlockShape = {
    width: d,
    layout: headLayout("DINOv2", "num_attention_heads", { width: d, heads }),
    intermediateSize: intermediateSize(config),
    activation: config.use_swiglu_ffn ? "silu" : activationName(config.hidden_act, "hidden_act"),
    gated: config.use_swiglu_ffn,
    layerScale: true,
    epsilon: config.layer_norm_eps,
    qkvBias: config.qkv_bias,
  };
  weights.takeIfPresent("mask_token", [1, d]);

  /** [1, prefix + N, d] */
  function positions(prefix: number): Value {
    if (from < 1) {
      const message = `'image_size': expected at least a patch of ${patch}, got ${config.image_size}`;
      throw new EpalmError("unsupported_architecture", `DINOv2 config.json: ${message}`);
    }
    const trained = [1, prefix + from * from, d];
    if (from === to) return parameters.tensor("pos_embed", trained);
    const method = config.position_interpolation ?? (hasRegisters ? "antialias" : "size");
    const source = weights.take("pos_embed", trained);
    return parameters.derived("pos_embed", () => resizedPositions(source, { prefix, from, to, method }));
  }

  function enter(pixels: Value): Value {
    const patches = embedPatches(parameters, pixels, size);
    const classToken = parameters.tensor("cls_token", [1, 1, d]);
    if (config.no_embed_class) {
      return withSpecialTokens(parameters, classToken, registers, g.add(patches, positions(0)));
    }
    const all = positions(1);
    const placed = g.add(patches, g.slice(all, 1, 1));
    return withSpecialTokens(parameters, g.add(classToken, g.slice(all, 1, 0, 1)), registers, placed);
  }

  return imageBackbone(parameters, {
    architecture: config.model_type,
    imageSize,
    depth: config.num_hidden_layers,
    shape,
    pooling: tokenPooling(settings, 1 + registers),
    enter,
    block: (index, x) => vitBlock(parameters, `blocks.${index}`, x, shape),
  });
}
