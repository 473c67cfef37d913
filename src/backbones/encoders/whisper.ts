import { z } from "zod";
import type { Value } from "../../graph/ir.js";
import { activationName } from "../../layers/activation.js";
import { linear } from "../../layers/linear.js";
import { layerNorm } from "../../layers/norm.js";
import { constantSource } from "../../tensor/tensor.js";
import type { EncoderSettings, PatchBackbone, PatchStates } from "../backbone.js";
import { count, headLayout, layerCount, parseConfig } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { windowPlaces } from "./ast.js";
import { throughBlocks, tokenPooling } from "./through-blocks.js";
import { blockKeys, neededShape, type TensorShapes, type TimmSettings } from "./timm-config.js";
import { type BlockShape, vitBlock } from "./vit-block.js";

/**
 * The encoder of Whisper (Radford et al. 2022, arXiv 2212.04356): two convolutions over the frames of a log-mel
 * spectrogram, the second of which halves their number, and pre-norm blocks whose keys have no bias. It uses timm's
 * names of tensors in blocks; `whisperName` converts those of openai/whisper (`model.py`) and of transformers
 * (`modeling_whisper.py`).
 */

export const whisperConfig = z.object({
  model_type: z.literal("whisper"),
  // The defaults are those of WhisperConfig.
  d_model: count.default(384),
  encoder_layers: layerCount.default(4),
  encoder_attention_heads: count.default(6),
  encoder_ffn_dim: count.default(1536),
  num_mel_bins: count.default(80),
  max_source_positions: count.default(1500),
  activation_function: z.string().default("gelu"),
});

export type WhisperConfig = z.infer<typeof whisperConfig>;

/** torch's epsilon, which no config states. */
const EPSILON = 1e-5;

/** Frames that each convolution sees at once. */
const KERNEL = 3;

/** All published sizes, from tiny to large, have heads of this width. */
const HEAD_WIDTH = 64;

/** Names of a block's parts in transformers and in openai/whisper, and timm's. */
const blockNames: Readonly<Record<string, string>> = {
  self_attn_layer_norm: "norm1",
  final_layer_norm: "norm2",
  "self_attn.q_proj": "attn.q",
  "self_attn.k_proj": "attn.k",
  "self_attn.v_proj": "attn.v",
  "self_attn.out_proj": "attn.proj",
  fc1: "mlp.fc1",
  fc2: "mlp.fc2",
  attn_ln: "norm1",
  mlp_ln: "norm2",
  "attn.query": "attn.q",
  "attn.key": "attn.k",
  "attn.value": "attn.v",
  "attn.out": "attn.proj",
  "mlp.0": "mlp.fc1",
  "mlp.2": "mlp.fc2",
};

const outerNames: Readonly<Record<string, string>> = {
  positional_embedding: "embed_positions.weight",
  "layer_norm.weight": "norm.weight",
  "layer_norm.bias": "norm.bias",
  "ln_post.weight": "norm.weight",
  "ln_post.bias": "norm.bias",
};

/** The first tensor of the encoder, after the prefix that distinguishes it from the decoder. */
export const whisperFirstTensor = /^(|.*\.)conv1\.weight$/;

/** The name of an encoder's tensor without its prefix; the decoder's tensors do not have that prefix. */
export function whisperName(name: string): string | undefined {
  const [, index, part = "", kind] = /^(?:layers|blocks)\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? [];
  if (index !== undefined) return `blocks.${index}.${blockNames[part] ?? part}.${kind}`;
  return outerNames[name] ?? name;
}

/** A config derived from the shapes of tensors, for the published files of openai/whisper. */
export function whisperConfigFromTensors(shapeOf: TensorShapes, settings: TimmSettings = {}): WhisperConfig {
  const what = "Whisper's encoder";
  const [width = 0, bands] = neededShape(shapeOf, what, "conv1.weight", 3);
  const [length] = neededShape(shapeOf, what, "embed_positions.weight", 2);
  const heads = settings.heads ?? (width % HEAD_WIDTH === 0 ? width / HEAD_WIDTH : undefined);
  const keys = blockKeys(shapeOf, what, width, { ...settings, heads });
  return parseConfig(
    whisperConfig,
    {
      model_type: "whisper",
      d_model: width,
      encoder_layers: keys.num_hidden_layers,
      encoder_attention_heads: keys.num_attention_heads,
      encoder_ffn_dim: keys.intermediate_size,
      num_mel_bins: bands,
      max_source_positions: length,
    },
    what,
  );
}

export function whisper(json: unknown, parameters: ParameterReader, settings: EncoderSettings = {}): PatchBackbone {
  const config = parseConfig(whisperConfig, json, "Whisper");
  const { g } = parameters;
  const { d_model: d, encoder_layers: depth, num_mel_bins: bands, max_source_positions: length } = config;
  const shape: BlockShape = {
    width: d,
    layout: headLayout("Whisper", "encoder_attention_heads", { width: d, heads: config.encoder_attention_heads }),
    intermediateSize: config.encoder_ffn_dim,
    activation: activationName(config.activation_function, "activation_function"),
    epsilon: EPSILON,
    qkvBias: true,
    keyBias: false,
  };

  /** x [B, frames, channels] -> [B, frames / stride, d]: a convolution padded by one frame at each end, and GELU. */
  function convolve(name: string, x: Value, stride: number): Value {
    const [, frames, channels] = x.shape.map(Number) as [number, number, number];
    const windows = frames / stride;
    const numbers = BigInt64Array.from(windowPlaces(windows, KERNEL, stride), BigInt);
    const places = g.weight(`${name}.frames`, constantSource("int64", [numbers.length], numbers));
    const seen = g.reshape(g.gather(g.pad(x, 1, 1, 1), places, 1), [0, windows, KERNEL, channels]);
    const flat = g.reshape(g.transpose(seen, [0, 1, 3, 2]), [0, windows, channels * KERNEL]);
    return g.gelu(linear(g, flat, parameters.windows(name, d, [channels, KERNEL])), "none");
  }

  /** Input of the first block: [B, T, d] */
  function enter(features: Value): Value {
    const convolved = convolve("conv2", convolve("conv1", features, 1), 2);
    return g.add(convolved, parameters.tensor("embed_positions.weight", [length, d]));
  }

  function through(features: Value): PatchStates {
    const block = (index: number, x: Value) => vitBlock(parameters, `blocks.${index}`, x, shape);
    const pooled = tokenPooling(settings, 0, "mean");
    const { classTokens, last } = throughBlocks(parameters, shape, depth, enter(features), block, pooled);
    return { classTokens, patches: () => layerNorm(g, last, parameters.layerNorm("norm", d, EPSILON)) };
  }

  return {
    architecture: "whisper",
    modality: "audio",
    features: "whisper",
    inputShape: [2 * length, bands],
    depth,
    width: d,
    states: (features) => through(features).classTokens,
    through,
  };
}
