import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import type { Value } from "../../graph/ir.js";
import { activationName } from "../../layers/activation.js";
import { layerNorm } from "../../layers/norm.js";
import { constantSource } from "../../tensor/tensor.js";
import type { EncoderSettings, PatchBackbone, PatchStates } from "../backbone.js";
import { count, frameCount, headLayout, layerCount, parseConfig, squareSide } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { type TokenPooling, throughBlocks } from "./through-blocks.js";
import { embedTubelets, tubeletsOf } from "./tubelets.js";
import { patchesPerSide, vitName } from "./vit.js";
import { type BlockShape, vitBlock } from "./vit-block.js";

/**
 * The encoder of VideoMAE (Tong et al. 2022, arXiv 2203.12602): a vision transformer without a class token over
 * tubelets, which are patches of several frames. It follows `modeling_videomae.py` of transformers with timm's tensor
 * names; `videomaeName` converts them. B batch, F frames, T tubelets in time, N places of a frame.
 */

export const videomaeConfig = z.object({
  model_type: z.literal("videomae"),
  // The defaults are those of VideoMAEConfig, which files omit.
  hidden_size: count.default(768),
  num_hidden_layers: layerCount.default(12),
  num_attention_heads: count.default(12),
  intermediate_size: count.default(3072),
  image_size: squareSide.default(224),
  patch_size: squareSide.default(16),
  num_channels: z.literal(3).default(3),
  num_frames: frameCount.default(16),
  tubelet_size: frameCount.default(2),
  hidden_act: z.string().default("gelu"),
  layer_norm_eps: z.number().positive().default(1e-12),
  qv_bias: z.boolean().default(true),
  /** An older name of `qv_bias`, which has precedence in transformers. */
  qkv_bias: z.boolean().optional(),
  use_mean_pooling: z.boolean().default(true),
});

/** Epsilon of the classifier's norm: the default of torch, which the config does not change. */
const POOLED_EPSILON = 1e-5;

/** Base of the wavelengths of the positions (Vaswani et al. 2017, arXiv 1706.03762, section 3.5). */
const WAVELENGTHS = 10_000;

/** The first tensor, whose prefix is no prefix of the classifier's norm. */
export const videomaeFirstTensor = /^()(?:videomae\.)?embeddings\.patch_embeddings\.projection\.weight$/;

/** timm's name of a tensor; undefined for the decoder of the pre-training and for the classifier. */
export function videomaeName(name: string): string | undefined {
  const plain = name.replace(/^videomae\./, "").replace(/\.attention\.attention\.([qv])_bias$/, ".attn.$1.bias");
  if (/^fc_norm\.(weight|bias)$/.test(plain)) return plain;
  return vitName(plain);
}

/** @throws unsupported_architecture: weights contain neither the number of frames nor the size of the images */
export function videomaeConfigFromTensors(): never {
  throw new EpalmError("unsupported_architecture", "VideoMAE: expected a folder with a config.json, got weights only");
}

/** @param settings `frames` may be any multiple of the tubelet size; the positions are computed for this number */
export function videomae(json: unknown, parameters: ParameterReader, settings: EncoderSettings = {}): PatchBackbone {
  const config = parseConfig(videomaeConfig, json, "VideoMAE");
  const { g, weights } = parameters;
  const { hidden_size: d, num_hidden_layers: depth, patch_size: patch, tubelet_size: tubelet } = config;
  const side = patchesPerSide(config, "VideoMAE");
  const frames = settings.frames ?? config.num_frames;
  const own = settings.frames === undefined ? "VideoMAE config.json: 'num_frames'" : undefined;
  const [times, places] = [tubeletsOf(frames, tubelet, own), side * side];
  const epsilon = config.layer_norm_eps;
  const shape: BlockShape = {
    width: d,
    layout: headLayout("VideoMAE", "num_attention_heads", { width: d, heads: config.num_attention_heads }),
    intermediateSize: config.intermediate_size,
    activation: activationName(config.hidden_act, "hidden_act"),
    epsilon,
    qkvBias: config.qkv_bias ?? config.qv_bias,
    keyBias: false,
  };

  /** pixels [B, F, 3, H, W] -> [B, T * N, d], frame by frame */
  function enter(pixels: Value): Value {
    const embedded = embedTubelets(parameters, pixels, { width: d, tubelet, patch, side });
    const positions = parameters.derived("patch_embed.times", () =>
      constantSource("float32", [times, places, d], sinusoids(times * places, d)),
    );
    return g.reshape(g.add(g.reshape(embedded, [-1, times, places, d]), positions), [-1, times * places, d]);
  }

  const finalNorm = (tokens: Value) => layerNorm(g, tokens, parameters.layerNorm("norm", d, epsilon));

  /** Fine-tuned models have no norm before the mean of the patches, but the classifier has one after it. */
  function meanOf(tokens: Value): Value {
    const mean = g.mean(tokens, 1);
    if (!weights.has("fc_norm.weight")) return mean;
    return layerNorm(g, mean, parameters.layerNorm("fc_norm", d, POOLED_EPSILON));
  }

  function through(pixels: Value): PatchStates {
    const block = (index: number, x: Value) => vitBlock(parameters, `blocks.${index}`, x, shape);
    const usual: TokenPooling = { pooling: "mean", special: 0 };
    const pooling = config.use_mean_pooling ? { ...usual, state: meanOf } : usual;
    const { classTokens, last } = throughBlocks(parameters, shape, depth, enter(pixels), block, pooling);
    return { classTokens, patches: () => (config.use_mean_pooling ? last : finalNorm(last)) };
  }

  return {
    architecture: config.model_type,
    modality: "video",
    inputShape: [frames, 3, config.image_size, config.image_size],
    depth,
    width: d,
    states: (pixels) => through(pixels).classTokens,
    through,
  };
}

/** Fixed positions [positions, d]: sines in the even channels and cosines in the odd ones. */
function sinusoids(positions: number, d: number): Float32Array {
  return Float32Array.from({ length: positions * d }, (_, at) => {
    const [position, channel] = [Math.floor(at / d), at % d];
    const angle = position / WAVELENGTHS ** ((2 * Math.floor(channel / 2)) / d);
    return channel % 2 === 0 ? Math.sin(angle) : Math.cos(angle);
  });
}
