import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import type { Value } from "../../graph/ir.js";
import { activationName } from "../../layers/activation.js";
import { linear } from "../../layers/linear.js";
import type { EncoderSettings, PatchBackbone } from "../backbone.js";
import { count, headLayout, layerCount, parseConfig } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { imageBackbone } from "./image-backbone.js";
import { tokenPooling } from "./through-blocks.js";
import { blockKeys, neededShape, type TensorShapes, type TimmSettings } from "./timm-config.js";
import { type BlockShape, vitBlock } from "./vit-block.js";

/**
 * Vision transformer (Dosovitskiy et al. 2020, arXiv 2010.11929), DeiT (whose distillation token attends like any
 * other token), MSN, and the encoder of a masked autoencoder. It follows timm's `vision_transformer.py` and uses its
 * tensor names; `vitName` converts the names of transformers (`modeling_vit.py`, `modeling_deit.py`,
 * `modeling_vit_msn.py`, `modeling_vit_mae.py`).
 */

export const vitConfig = z.object({
  model_type: z.enum(["vit", "deit", "vit_mae", "vit_msn"]),
  hidden_size: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  intermediate_size: count,
  image_size: count,
  patch_size: count,
  num_channels: z.literal(3).default(3),
  hidden_act: z.string().default("gelu"),
  layer_norm_eps: z.number().positive(),
  qkv_bias: z.boolean().default(true),
  /** How tokens should become states, as recorded by `epalm fedmae`; public configs do not have this key. */
  epalm_pooling: z.enum(["cls", "mean"]).optional(),
});

export type VitConfig = z.infer<typeof vitConfig>;

/** Number of prefixes that a message lists. */
const MAX_LISTED = 5;

/** transformers' names of tensors outside the blocks, and timm's. */
const outerNames: Readonly<Record<string, string>> = {
  "embeddings.cls_token": "cls_token",
  "embeddings.distillation_token": "dist_token",
  "embeddings.position_embeddings": "pos_embed",
  "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
  "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
  "layernorm.weight": "norm.weight",
  "layernorm.bias": "norm.bias",
};

/** transformers' names of a block's parts, and timm's. Queries, keys and values are joined when they are read. */
export const vitBlockNames: Readonly<Record<string, string>> = {
  layernorm_before: "norm1",
  layernorm_after: "norm2",
  "attention.attention.query": "attn.q",
  "attention.attention.key": "attn.k",
  "attention.attention.value": "attn.v",
  "attention.output.dense": "attn.proj",
  "intermediate.dense": "mlp.fc1",
  "output.dense": "mlp.fc2",
  // transformers 5 uses these names unless it is told to keep those above.
  "attention.q_proj": "attn.q",
  "attention.k_proj": "attn.k",
  "attention.v_proj": "attn.v",
  "attention.o_proj": "attn.proj",
};

/**
 * Modules that belong to an encoder, of this architecture or another one. Other modules are heads and whatever else
 * uses the encoder's states: classifiers, projectors, poolers, the decoder of an MAE.
 */
const encoderModule =
  /^(blocks?|layers?|encoder|embeddings?|patch_\w+|pos_\w+|time_\w+|temporal_\w+|norm\w*|ln_\w+|layernorm|pre_norm|stem|conv\w*|rope\w*|rotary\w*|rel_\w+|relative_\w+|transformer|resblocks|visual|stages?|features|vit|deit|model|module|backbone)\./;

/** Parameters outside modules that have no effect on the states; others, such as register tokens, have one. */
const freeParameter = /^((embeddings\.)?mask_token|decoder_\w+|logit_\w+|temp\w*|queue\w*|center)$/;

/** timm's name of a tensor; undefined if the tensor is not part of the backbone. */
export function vitName(name: string): string | undefined {
  const plain = name.replace(/^(vit|deit|model|module|encoder_model)\.(?!encoder_)/, "");
  const block = /^(?:encoder\.layer|layers)\.(\d+)\.(.+)\.(weight|bias)$/.exec(plain);
  const [, index, part = "", kind] = block ?? [];
  if (block) return `blocks.${index}.${vitBlockNames[part] ?? part}.${kind}`;
  const outer = outerNames[plain];
  if (outer) return outer;
  const isParameter = !plain.includes(".");
  if (freeParameter.test(plain)) return undefined;
  return isParameter || encoderModule.test(plain) ? plain : undefined;
}

/** The first tensor of an encoder in the names of timm and of transformers, after any prefix. */
const vitFirstTensor = /^(|.*\.)(?:patch_embed\.proj|embeddings\.patch_embeddings(?:\.projection)?)\.weight$/;

/**
 * The prefix of an encoder inside a larger network or a wrapper: `backbone.`, `_orig_mod.`, `teacher.backbone.`. Empty
 * if the names have no prefix, or contain no encoder.
 *
 * @param firstTensor matches the encoder's first tensor; its first group is the prefix
 * @throws `invalid_checkpoint`, listing the prefixes, if there are several encoders
 */
export function encoderPrefix(names: Iterable<string>, path: string, firstTensor = vitFirstTensor): string {
  const prefixes = [...names].flatMap((name) => firstTensor.exec(name)?.[1] ?? []);
  const [first = ""] = prefixes;
  if (prefixes.length < 2 || prefixes.includes("")) return prefixes.includes("") ? "" : first;
  throw new EpalmError(
    "invalid_checkpoint",
    `${path}: expected the tensors of one encoder, got several with the prefixes ${prefixes.slice(0, MAX_LISTED).join(", ")}`,
  );
}

/** A config derived from the shapes of timm-named tensors. */
export function vitConfigFromTensors(shapeOf: TensorShapes, settings: TimmSettings = {}): VitConfig {
  const what = "a vision transformer";
  const [width = 0, , patch = 0] = neededShape(shapeOf, what, "patch_embed.proj.weight", 4);
  const [, tokens = 0] = neededShape(shapeOf, what, "pos_embed", 3);
  const special = shapeOf("dist_token") ? 2 : 1;
  return parseConfig(
    vitConfig,
    {
      model_type: special === 2 ? "deit" : "vit",
      ...blockKeys(shapeOf, what, width, settings),
      image_size: settings.imageSize ?? Math.sqrt(tokens - special) * patch,
      patch_size: patch,
    },
    "vision transformer",
  );
}

/** Number of patches along each side of an image. @throws `unsupported_architecture` if the side is not divisible */
export function patchesPerSide(
  { image_size, patch_size }: Pick<VitConfig, "image_size" | "patch_size">,
  architecture = "ViT",
  key = "image_size",
): number {
  const side = image_size / patch_size;
  if (Number.isInteger(side)) return side;
  throw new EpalmError(
    "unsupported_architecture",
    `${architecture} config.json: '${key}': patches of ${patch_size} do not divide ${image_size}`,
  );
}

/** pixels [B, 3, H, W] -> patches [B, N, 3 * patch^2] -> [B, N, d]; a convolution whose windows do not overlap. */
export function embedPatches(
  parameters: ParameterReader,
  pixels: Value,
  config: Pick<VitConfig, "image_size" | "patch_size" | "hidden_size">,
  options = { bias: true },
): Value {
  const { g } = parameters;
  const [side, patch] = [patchesPerSide(config), config.patch_size];
  const cut = g.reshape(pixels, [0, 3, side, patch, side, patch]);
  const patches = g.reshape(g.transpose(cut, [0, 2, 4, 1, 3, 5]), [0, side * side, 3 * patch * patch]);
  return linear(g, patches, parameters.windows("patch_embed.proj", config.hidden_size, [3, patch, patch], options));
}

export function vit(json: unknown, parameters: ParameterReader, settings: EncoderSettings = {}): PatchBackbone {
  const config = parseConfig(vitConfig, json, "ViT");
  const { g, weights } = parameters;
  const { hidden_size: d, num_attention_heads: heads } = config;
  const side = patchesPerSide(config);
  const shape: BlockShape = {
    width: d,
    layout: headLayout("ViT", "num_attention_heads", { width: d, heads }),
    intermediateSize: config.intermediate_size,
    activation: activationName(config.hidden_act, "hidden_act"),
    epsilon: config.layer_norm_eps,
    qkvBias: config.qkv_bias,
  };
  const special = weights.has("dist_token") ? ["cls_token", "dist_token"] : ["cls_token"];

  /** Input of the first block: [B, T, d], special tokens first. */
  function enter(pixels: Value): Value {
    const patches = embedPatches(parameters, pixels, config);
    const tokens = special.map((name) => g.repeatFor(parameters.tensor(name, [1, 1, d]), patches));
    const positions = parameters.tensor("pos_embed", [1, side * side + special.length, d]);
    return g.add(g.concat([...tokens, patches], 1), positions);
  }

  return imageBackbone(parameters, {
    architecture: config.model_type,
    imageSize: config.image_size,
    depth: config.num_hidden_layers,
    shape,
    pooling: tokenPooling(settings, special.length),
    enter,
    block: (index, x) => vitBlock(parameters, `blocks.${index}`, x, shape),
  });
}
