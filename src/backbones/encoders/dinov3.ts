import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import type { Value } from "../../graph/ir.js";
import { activationName } from "../../layers/activation.js";
import type { LinearParameters } from "../../layers/linear.js";
import { type RotaryAngles, rotate } from "../../layers/rotary.js";
import { constantSource, floats } from "../../tensor/tensor.js";
import type { EncoderSettings, PatchBackbone } from "../backbone.js";
import { count, headLayout, layerCount, parseConfig, squareSide } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { dinoName } from "./dino-names.js";
import { imageBackbone, inputSize, withSpecialTokens } from "./image-backbone.js";
import { patchRotations } from "./positions.js";
import { tokenPooling } from "./through-blocks.js";
import { blockKeys, neededShape, type TensorShapes, type TimmSettings } from "./timm-config.js";
import { embedPatches, patchesPerSide } from "./vit.js";
import { type BlockShape, vitBlock } from "./vit-block.js";

/**
 * The ViT of DINOv3 (Siméoni et al. 2025, arXiv 2508.10104): like DINOv2 with registers, but the positions of patches
 * rotate queries and keys, keys have no bias, and larger models have a gated feed-forward. It follows
 * `vision_transformer.py` of facebookresearch/dinov3, `modeling_dinov3_vit.py` of transformers and timm's
 * `vit_*_dinov3`, and uses timm's tensor names. The random changes of positions (`pos_embed_shift`, `_jitter`,
 * `_rescale`) are part of pre-training only.
 */

export const dinov3Config = z.object({
  model_type: z.literal("dinov3_vit"),
  hidden_size: count.default(384),
  intermediate_size: count.default(1536),
  num_hidden_layers: layerCount.default(12),
  num_attention_heads: count.default(6),
  hidden_act: z.string().default("gelu"),
  layer_norm_eps: z.number().positive().default(1e-5),
  rope_theta: z.number().positive().default(100),
  image_size: squareSide.default(224),
  patch_size: squareSide.default(16),
  num_channels: z.literal(3).default(3),
  query_bias: z.boolean().default(true),
  key_bias: z.boolean().default(false),
  value_bias: z.boolean().default(true),
  proj_bias: z.boolean().default(true),
  mlp_bias: z.boolean().default(true),
  use_gated_mlp: z.boolean().default(false),
  num_register_tokens: z.int().min(0).default(0),
});

export type Dinov3Config = z.infer<typeof dinov3Config>;

/** Epsilon of all published models, which their weights do not contain. */
const PUBLISHED_EPSILON = 1e-5;

/** Input of the published models in pixels. */
const PUBLISHED_SIZE = 224;

/** Heads of published models that differ from those of a ViT of the same width. */
const PUBLISHED_HEADS: ReadonlyMap<number, number> = new Map([
  [1280, 20],
  [4096, 32],
]);

/** timm's name of a tensor; undefined if the tensor is not part of the backbone. */
export const dinov3Name = dinoName;

/** A config derived from the shapes of the tensors in a published `.pth` or a file of timm. */
export function dinov3ConfigFromTensors(shapeOf: TensorShapes, settings: TimmSettings = {}): Dinov3Config {
  const what = "a DINOv3";
  const [width = 0, , patch = 0] = neededShape(shapeOf, what, "patch_embed.proj.weight", 4);
  const [, registers = 0] = shapeOf("reg_token") ?? [];
  const first = "blocks.0.mlp.fc1.weight";
  const gate = shapeOf("blocks.0.mlp.gate.weight");
  const keys = blockKeys((name) => (name === first ? (gate ?? shapeOf(name)) : shapeOf(name)), what, width, {
    ...settings,
    heads: settings.heads ?? PUBLISHED_HEADS.get(width),
    epsilon: settings.epsilon ?? PUBLISHED_EPSILON,
  });
  const has = (name: string) => shapeOf(`blocks.0.${name}.bias`) !== undefined;
  return parseConfig(
    dinov3Config,
    {
      ...keys,
      model_type: "dinov3_vit",
      hidden_act: gate ? "silu" : "gelu",
      image_size: settings.imageSize ?? PUBLISHED_SIZE,
      patch_size: patch,
      query_bias: has("attn.q"),
      key_bias: has("attn.k"),
      value_bias: has("attn.v"),
      proj_bias: has("attn.proj"),
      mlp_bias: has("mlp.fc2"),
      use_gated_mlp: gate !== undefined,
      num_register_tokens: registers,
    },
    what,
  );
}

/** @param settings `imageSize` may differ from the size in the config */
export function dinov3(json: unknown, parameters: ParameterReader, settings: EncoderSettings = {}): PatchBackbone {
  const config = parseConfig(dinov3Config, json, "DINOv3");
  const { g, weights } = parameters;
  const { hidden_size: d, num_attention_heads: heads, patch_size } = config;
  const imageSize = inputSize(settings.imageSize, config.image_size, patch_size);
  const size = { hidden_size: d, image_size: imageSize, patch_size };
  const special = 1 + config.num_register_tokens;
  const layout = headLayout("DINOv3", "num_attention_heads", { width: d, heads });
  const shape: BlockShape = {
    width: d,
    layout,
    intermediateSize: config.intermediate_size,
    activation: activationName(config.hidden_act, "hidden_act"),
    gated: config.use_gated_mlp,
    layerScale: true,
    epsilon: config.layer_norm_eps,
    qkvBias: config.query_bias,
    projBias: config.proj_bias,
    mlpBias: config.mlp_bias,
  };
  const angles = rotations();

  function rotations(): RotaryAngles {
    const quarter = layout.headSize / 4;
    if (!Number.isInteger(quarter)) {
      const message = `'num_attention_heads': expected heads of a multiple of 4, got ${layout.headSize}`;
      throw new EpalmError("unsupported_architecture", `DINOv3 config.json: ${message}`);
    }
    const side = patchesPerSide(size, "DINOv3");
    const published = Float32Array.from({ length: quarter }, (_, i) => config.rope_theta ** (i / quarter));
    // The published files contain them rounded to bfloat16.
    const periods = weights.takeIfPresent("rope.periods", [quarter]) ?? constantSource("float32", [quarter], published);
    // A coordinate is that of the patch's centre, from -1 to 1, and the angle is `2 pi * coordinate / period`.
    const coordinate = (place: number) => (2 * (place + 0.5)) / side - 1;
    return patchRotations(parameters, { special, side, quarter }, () => {
      const rates = floats({ data: periods.read() });
      return (place, index) => (2 * Math.PI * coordinate(place)) / Number(rates[index]);
    });
  }

  function queriesKeysValues(name: string): LinearParameters {
    const parts = ["q", "k", "v"].map((part) => `${name}.${part}`);
    const has = [config.query_bias, config.key_bias, config.value_bias];
    const options = { bias: has.includes(true), unbiased: parts.filter((_, index) => !has[index]) };
    if (!weights.has(`${name}.qkv.weight`)) return parameters.joined(`${name}.qkv`, parts, d, [d, d, d], options);
    const { weight } = parameters.linear(`${name}.qkv`, d, 3 * d, { bias: false });
    if (weights.has(`${name}.qkv.bias`)) return { weight, bias: maskedBias(name) };
    return options.bias
      ? { weight, bias: parameters.joinedBiases(`${name}.qkv`, parts, [d, d, d], options) }
      : { weight };
  }

  /** The published code multiplies the bias by a mask, which removes that of the keys. */
  function maskedBias(name: string): Value {
    const bias = parameters.tensor(`${name}.qkv.bias`, [3 * d]);
    const mask = `${name}.qkv.bias_mask`;
    return weights.has(mask) ? g.multiply(bias, parameters.tensor(mask, [3 * d])) : bias;
  }

  return imageBackbone(parameters, {
    architecture: config.model_type,
    imageSize,
    depth: config.num_hidden_layers,
    shape,
    pooling: tokenPooling(settings, special),
    enter(pixels) {
      const patches = embedPatches(parameters, pixels, size);
      const classToken = parameters.tensor("cls_token", [1, 1, d]);
      return withSpecialTokens(parameters, classToken, config.num_register_tokens, patches);
    },
    block(index, x) {
      const name = `blocks.${index}`;
      return vitBlock(parameters, name, x, shape, {
        queriesKeysValues: queriesKeysValues(`${name}.attn`),
        rotate: (tokens) => rotate(g, tokens, angles),
      });
    },
  });
}
