import { z } from "zod";
import type { Value } from "../../graph/ir.js";
import { activationName } from "../../layers/activation.js";
import { linear } from "../../layers/linear.js";
import { layerNorm } from "../../layers/norm.js";
import type { EncoderSettings, PatchBackbone, PatchStates } from "../backbone.js";
import { frameCount, headLayout, parseConfig } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { throughBlocks, tokenPooling } from "./through-blocks.js";
import { blockKeys, neededShape, type TensorShapes, type TimmSettings } from "./timm-config.js";
import { embedPatches, patchesPerSide, vitConfig, vitName } from "./vit.js";
import { type BlockShape, feedForward, normedAttention } from "./vit-block.js";

/**
 * TimeSformer with divided space-time attention (Bertasius et al. 2021, arXiv 2102.05095): in each block, a patch
 * first attends to the same position in all frames, then to its own frame. It follows `vit.py` of
 * facebookresearch/TimeSformer and uses its tensor names; `timesformerName` converts the names of transformers
 * (`modeling_timesformer.py`). B batch, T frames, N patches per frame.
 */

export const timesformerConfig = vitConfig.extend({
  model_type: z.literal("timesformer"),
  num_frames: frameCount.default(8),
  attention_type: z.literal("divided_space_time").default("divided_space_time"),
  layer_norm_eps: vitConfig.shape.layer_norm_eps.default(1e-6),
});

export type TimesformerConfig = z.infer<typeof timesformerConfig>;

/** transformers' names of a block's parts that differ from those in a ViT, and the published names. */
const blockNames: Readonly<Record<string, string>> = {
  "attention.attention.qkv": "attn.qkv",
  "temporal_attention.attention.qkv": "temporal_attn.qkv",
  "temporal_attention.output.dense": "temporal_attn.proj",
  temporal_layernorm: "temporal_norm1",
  temporal_dense: "temporal_fc",
};

/** The published name of a tensor without `model.`; undefined if the tensor is not part of the backbone. */
export function timesformerName(name: string): string | undefined {
  const plain = name.replace(/^timesformer\./, "");
  if (plain === "embeddings.time_embeddings") return "time_embed";
  const [, index, part = "", kind] = /^encoder\.layer\.(\d+)\.(.+)\.(weight|bias)$/.exec(plain) ?? [];
  const published = Object.hasOwn(blockNames, part) ? blockNames[part] : undefined;
  return published ? `blocks.${index}.${published}.${kind}` : vitName(plain);
}

/** A config derived from the shapes of the published tensors. */
export function timesformerConfigFromTensors(shapeOf: TensorShapes, settings: TimmSettings = {}): TimesformerConfig {
  const what = "a TimeSformer";
  const [width = 0, , patch = 0] = neededShape(shapeOf, what, "patch_embed.proj.weight", 4);
  const [, tokens = 0] = neededShape(shapeOf, what, "pos_embed", 3);
  const [, frames = 0] = neededShape(shapeOf, what, "time_embed", 3);
  return parseConfig(
    timesformerConfig,
    {
      model_type: "timesformer",
      ...blockKeys(shapeOf, what, width, settings),
      image_size: settings.imageSize ?? Math.sqrt(tokens - 1) * patch,
      patch_size: patch,
      num_frames: frames,
    },
    what,
  );
}

/** @param settings `frames` may differ from the checkpoint's number; time embeddings are then repeated or omitted */
export function timesformer(json: unknown, parameters: ParameterReader, settings: EncoderSettings = {}): PatchBackbone {
  const config = parseConfig(timesformerConfig, json, "TimeSformer");
  const { g } = parameters;
  const { hidden_size: d, num_attention_heads: heads, layer_norm_eps: epsilon } = config;
  const side = patchesPerSide(config, "TimeSformer");
  const [frames, patches] = [settings.frames ?? config.num_frames, side * side];
  const shape: BlockShape = {
    width: d,
    layout: headLayout("TimeSformer", "num_attention_heads", { width: d, heads }),
    intermediateSize: config.intermediate_size,
    activation: activationName(config.hidden_act, "hidden_act"),
    epsilon,
    qkvBias: config.qkv_bias,
  };

  /** The time embeddings [1, T, d]; for another number of frames the nearest ones, as in the published code. */
  function timeEmbeddings(): Value {
    const own = parameters.tensor("time_embed", [1, config.num_frames, d]);
    if (frames === config.num_frames) return own;
    const nearest = (frame: number) => Math.floor((frame * config.num_frames) / frames);
    return g.gather(own, g.integers(Array.from({ length: frames }, (_, frame) => nearest(frame))), 1);
  }

  /** pixels [B, T, 3, H, W] -> [B, 1 + N * T, d]: the class token, then position by position, each frame by frame. */
  function enter(pixels: Value): Value {
    const positions = parameters.tensor("pos_embed", [1, 1 + patches, d]);
    const pictures = g.reshape(pixels, [-1, 3, config.image_size, config.image_size]);
    const placed = g.add(embedPatches(parameters, pictures, config), g.slice(positions, 1, 1));
    const byPlace = g.transpose(g.reshape(placed, [-1, frames, patches, d]), [0, 2, 1, 3]);
    const timed = g.reshape(g.add(byPlace, timeEmbeddings()), [0, patches * frames, d]);
    const classToken = g.add(parameters.tensor("cls_token", [1, 1, d]), g.slice(positions, 1, 0, 1));
    return g.concat([g.repeatFor(classToken, timed), timed], 1);
  }

  /** Temporal half of a block: each position attends to itself in all frames. [B, N * T, d] */
  function attendInTime(name: string, tokens: Value): Value {
    const parts = { norm: "temporal_norm1", attention: "temporal_attn" };
    const places = g.reshape(tokens, [-1, frames, d]);
    const attended = g.reshape(normedAttention(parameters, name, parts, places, shape), [-1, patches * frames, d]);
    return g.add(tokens, linear(g, attended, parameters.linear(`${name}.temporal_fc`, d, d, { bias: true })));
  }

  /**
   * Spatial half of a block: the patches of each frame attend to each other and to a copy of the class token [B, 1,
   * d]. Returns the update of that token, averaged over the frames, and those of the patches: [B, 1 + N * T, d].
   */
  function attendInSpace(name: string, classToken: Value, tokens: Value): Value {
    const byFrame = g.transpose(g.reshape(tokens, [0, patches, frames, d]), [0, 2, 1, 3]);
    const copies = g.reshape(g.concat(new Array<Value>(frames).fill(classToken), 1), [-1, 1, d]);
    const each = g.concat([copies, g.reshape(byFrame, [-1, patches, d])], 1);
    const attended = normedAttention(parameters, name, { norm: "norm1", attention: "attn" }, each, shape);
    const ofClass = g.mean(g.reshape(g.slice(attended, 1, 0, 1), [-1, frames, d]), 1);
    const ofPatches = g.reshape(g.slice(attended, 1, 1), [-1, frames, patches, d]);
    const byPlace = g.reshape(g.transpose(ofPatches, [0, 2, 1, 3]), [0, patches * frames, d]);
    return g.concat([ofClass, byPlace], 1);
  }

  function block(index: number, x: Value): Value {
    const name = `blocks.${index}`;
    const classToken = g.slice(x, 1, 0, 1);
    const timed = attendInTime(name, g.slice(x, 1, 1));
    const middle = g.add(g.concat([classToken, timed], 1), attendInSpace(name, classToken, timed));
    return g.add(middle, feedForward(parameters, name, middle, shape));
  }

  function through(pixels: Value): PatchStates {
    const depth = config.num_hidden_layers;
    const pooled = tokenPooling(settings, 1);
    const { classTokens, last } = throughBlocks(parameters, shape, depth, enter(pixels), block, pooled);
    const norm = () => parameters.layerNorm("norm", d, epsilon);
    return { classTokens, patches: () => layerNorm(g, g.slice(last, 1, 1), norm()) };
  }

  return {
    architecture: config.model_type,
    modality: "video",
    inputShape: [frames, 3, config.image_size, config.image_size],
    depth: config.num_hidden_layers,
    width: d,
    states: (pixels) => through(pixels).classTokens,
    through,
  };
}
