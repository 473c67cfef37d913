import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import type { Value } from "../../graph/ir.js";
import { layerNorm } from "../../layers/norm.js";
import { rotate } from "../../layers/rotary.js";
import type { EncoderSettings, PatchBackbone } from "../backbone.js";
import { count, headLayout, layerCount, parseConfig } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { dinoName } from "./dino-names.js";
import { imageBackbone } from "./image-backbone.js";
import { patchRotations } from "./positions.js";
import { type TokenPooling, tokenPooling } from "./through-blocks.js";
import { blockKeys, neededShape, type TensorShapes, type TimmSettings } from "./timm-config.js";
import { embedPatches, patchesPerSide } from "./vit.js";
import { type BlockShape, vitBlock } from "./vit-block.js";

/**
 * EVA-02 (Fang et al. 2023, arXiv 2303.11331) and the image encoder of EVA-CLIP (Sun et al. 2023, arXiv 2303.15389): a
 * ViT with a gated feed-forward and norms inside attention and feed-forward, in which the positions of patches are
 * added and also rotate queries and keys. It follows timm's `eva.py` (`eva02_*`, except `eva02_enormous_*`, whose
 * blocks end with their norms) and uses the tensor names of this project's `dinov3.ts`.
 */

export const eva02Config = z.object({
  /** Not a public name: the files of timm have none. */
  model_type: z.literal("eva02"),
  hidden_size: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  intermediate_size: count,
  image_size: count,
  patch_size: count,
  layer_norm_eps: z.number().positive(),
  qkv_bias: z.boolean(),
});

export type Eva02Config = z.infer<typeof eva02Config>;

/** Base of the frequencies of the rotation. */
const THETA = 10_000;

/** Patches along each side of the images of the pre-training, to which rows and columns are scaled. */
const REFERENCE_SIDE = 16;

/** The name of a tensor in this file; undefined if it is not part of the backbone. Angles are computed. */
export function eva02Name(name: string): string | undefined {
  if (/(^|\.)rope\./.test(name)) return undefined;
  if (/^fc_norm\./.test(name)) return name;
  return dinoName(
    name
      .replace(/\.attn\.([qkv])_proj\./, ".attn.$1.")
      // The published names of the inner norms.
      .replace(".attn.inner_attn_ln.", ".attn.norm.")
      .replace(".mlp.ffn_ln.", ".mlp.norm."),
  );
}

/**
 * A config derived from the shapes of the tensors.
 *
 * @throws unsupported_architecture for a plain feed-forward, that of EVA-01 and of the enormous EVA-02
 */
export function eva02ConfigFromTensors(shapeOf: TensorShapes, settings: TimmSettings = {}): Eva02Config {
  const what = "an EVA-02";
  const [width = 0, , patch = 0] = neededShape(shapeOf, what, "patch_embed.proj.weight", 4);
  const [, tokens = 0] = neededShape(shapeOf, what, "pos_embed", 3);
  const [, size = 0] = neededShape(shapeOf, what, "blocks.0.mlp.fc2.weight", 2);
  const [first] = shapeOf("blocks.0.mlp.fc1.weight") ?? [];
  if (first !== undefined && first !== 2 * size) {
    throw new EpalmError(
      "unsupported_architecture",
      `${settings.path ?? what}: expected the gated feed-forward of EVA-02 (tiny to large), got a plain one, such as ` +
        "that of EVA-01 and of the enormous EVA-02",
    );
  }
  const keys = blockKeys(
    (name) => (name === "blocks.0.mlp.fc1.weight" ? [size, width] : shapeOf(name)),
    what,
    width,
    settings,
  );
  const image_size = settings.imageSize ?? Math.sqrt(tokens - 1) * patch;
  return parseConfig(eva02Config, { ...keys, model_type: "eva02", image_size, patch_size: patch }, what);
}

export function eva02(json: unknown, parameters: ParameterReader, settings: EncoderSettings = {}): PatchBackbone {
  const config = parseConfig(eva02Config, json, "EVA-02");
  const { g, weights } = parameters;
  const { hidden_size: d, layer_norm_eps: epsilon } = config;
  const side = patchesPerSide(config, "EVA-02");
  const layout = headLayout("EVA-02", "num_attention_heads", { width: d, heads: config.num_attention_heads });
  const shape: BlockShape = {
    width: d,
    layout,
    intermediateSize: config.intermediate_size,
    activation: "silu",
    gated: true,
    innerNorms: {
      attention: weights.has("blocks.0.attn.norm.weight"),
      mlp: weights.has("blocks.0.mlp.norm.weight"),
    },
    epsilon,
    qkvBias: config.qkv_bias,
    keyBias: false,
  };
  const angles = rotations();

  function rotations() {
    const quarter = layout.headSize / 4;
    if (!Number.isInteger(quarter)) {
      const message = `heads: expected a size of each head that is a multiple of 4, got ${layout.headSize}`;
      throw new EpalmError("unsupported_architecture", `EVA-02: ${message}`);
    }
    const grid = { special: 1, side, quarter };
    const rotated = patchRotations(parameters, grid, () => (place, index) => {
      const position = Math.fround((place / side) * REFERENCE_SIDE);
      return Math.fround(position * Math.fround(1 / Math.fround(THETA ** Math.fround(index / quarter))));
    });
    return { ...rotated, interleaved: true };
  }

  /** Classifiers have no norm before the mean of the patches, but one after it. */
  function pooling(): TokenPooling {
    const usual = tokenPooling(settings, 1);
    if (!weights.has("fc_norm.weight")) return usual;
    const mean = (tokens: Value) => g.mean(g.slice(tokens, 1, usual.special), 1);
    const state = (tokens: Value) => layerNorm(g, mean(tokens), parameters.layerNorm("fc_norm", d, epsilon));
    return { ...usual, pooling: "mean", state };
  }

  return imageBackbone(parameters, {
    architecture: config.model_type,
    imageSize: config.image_size,
    depth: config.num_hidden_layers,
    shape,
    pooling: pooling(),
    enter(pixels) {
      const patches = embedPatches(parameters, pixels, config);
      const classToken = g.repeatFor(parameters.tensor("cls_token", [1, 1, d]), patches);
      const positions = parameters.tensor("pos_embed", [1, 1 + side * side, d]);
      return g.add(g.concat([classToken, patches], 1), positions);
    },
    block: (index, x) =>
      vitBlock(parameters, `blocks.${index}`, x, shape, { rotate: (heads) => rotate(g, heads, angles) }),
  });
}
