import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import type { Value } from "../../graph/ir.js";
import { activationName } from "../../layers/activation.js";
import { linear } from "../../layers/linear.js";
import { constantSource } from "../../tensor/tensor.js";
import type { EncoderBackbone, EncoderSettings } from "../backbone.js";
import { count, headLayout, layerCount, parseConfig } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { throughBlocks, tokenPooling } from "./through-blocks.js";
import { blockKeys, neededShape, type TensorShapes, type TimmSettings } from "./timm-config.js";
import { vitName } from "./vit.js";
import { type BlockShape, vitBlock } from "./vit-block.js";

/**
 * Audio spectrogram transformer (Gong et al. 2021, arXiv 2104.01778): a DeiT over patches of a log-mel spectrogram
 * that overlap in frequency and time. It follows `ast_models.py` of YuanGongND/ast, whose tensor names are those of
 * timm with the prefix `v.`; `astName` converts the names of transformers
 * (`modeling_audio_spectrogram_transformer.py`) to those of timm. The published classifier averages the class and
 * distillation tokens after the last block; eP-ALM uses only the class token.
 */

export const astConfig = z.object({
  model_type: z.literal("audio-spectrogram-transformer"),
  hidden_size: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  intermediate_size: count,
  patch_size: count.default(16),
  frequency_stride: count.default(10),
  time_stride: count.default(10),
  max_length: count.default(1024),
  num_mel_bins: count.default(128),
  hidden_act: z.string().default("gelu"),
  layer_norm_eps: z.number().positive().default(1e-12),
  qkv_bias: z.boolean().default(true),
});

export type AstConfig = z.infer<typeof astConfig>;

/** Mel bins of every published AST. */
const MEL_BINS = 128;

/** Frames of ten seconds, the input length of the models for AudioSet. */
const AUDIOSET_FRAMES = 1024;

/** Strides in frequency and time of the published models for AudioSet, in ascending order. */
const PUBLISHED_STRIDES = [10, 12, 14, 16] as const;

/** timm's name of a tensor; undefined if the tensor is not part of the backbone. */
export function astName(name: string): string | undefined {
  if (/^(module\.)?mlp_head\./.test(name)) return undefined;
  return vitName(name.replace(/^(audio_spectrogram_transformer|(module\.)?v)\./, ""));
}

/** Number of windows of `size` that fit into `length` with the given stride. */
const windowCount = (length: number, size: number, stride: number) => Math.floor((length - size) / stride) + 1;

/**
 * A config derived from the tensor shapes of a published `.pth`, which does not store the strides. If the number of
 * patches is that of a model for AudioSet, its strides are used; otherwise they are 10, and the number of frames
 * follows from the number of patches.
 */
export function astConfigFromTensors(shapeOf: TensorShapes, settings: TimmSettings = {}): AstConfig {
  const what = "an audio spectrogram transformer";
  const [width = 0, , patch = 0] = neededShape(shapeOf, what, "patch_embed.proj.weight", 4);
  const [, tokens = 0] = neededShape(shapeOf, what, "pos_embed", 3);
  const patches = tokens - 2;
  const rows = (stride: number) => windowCount(MEL_BINS, patch, stride);
  const stride = PUBLISHED_STRIDES.find((step) => rows(step) * windowCount(AUDIOSET_FRAMES, patch, step) === patches);
  const [finest] = PUBLISHED_STRIDES;
  return parseConfig(
    astConfig,
    {
      model_type: "audio-spectrogram-transformer",
      ...blockKeys(shapeOf, what, width, settings),
      patch_size: patch,
      frequency_stride: stride ?? finest,
      time_stride: stride ?? finest,
      num_mel_bins: MEL_BINS,
      max_length: stride ? AUDIOSET_FRAMES : (patches / rows(finest) - 1) * finest + patch,
    },
    what,
  );
}

/** Number of patches along one axis of the spectrogram; `key` names the length of the axis in errors. */
function patchesAlong(key: "num_mel_bins" | "max_length", config: AstConfig, stride: number): number {
  const { [key]: length, patch_size: patch } = config;
  if (length >= patch) return windowCount(length, patch, stride);
  throw new EpalmError(
    "unsupported_architecture",
    `AST config.json: '${key}': expected at least a patch of ${patch}, got ${length}`,
  );
}

/** Positions in windows that may overlap, window after window: `windows * size` numbers. */
export function windowPlaces(windows: number, size: number, stride: number): number[] {
  return Array.from({ length: windows * size }, (_, at) => Math.floor(at / size) * stride + (at % size));
}

/**
 * features [B, max_length, num_mel_bins] -> patches [B, rows * columns, patch^2], lowest frequencies first -> [B, N,
 * d]
 */
function embedSpectrogram(
  parameters: ParameterReader,
  features: Value,
  config: AstConfig,
  rows: number,
  columns: number,
): Value {
  const { g } = parameters;
  const { patch_size: patch, frequency_stride, time_stride, hidden_size: d } = config;
  const places = (axis: string, windows: number, stride: number) => {
    const numbers = BigInt64Array.from(windowPlaces(windows, patch, stride), BigInt);
    return g.weight(`patch_embed.${axis}`, constantSource("int64", [numbers.length], numbers));
  };
  const inTime = g.gather(features, places("frames", columns, time_stride), 1);
  const inBoth = g.gather(inTime, places("bins", rows, frequency_stride), 2);
  const cut = g.transpose(g.reshape(inBoth, [0, columns, patch, rows, patch]), [0, 3, 1, 4, 2]);
  const patches = g.reshape(cut, [0, rows * columns, patch * patch]);
  return linear(g, patches, parameters.windows("patch_embed.proj", d, [1, patch, patch]));
}

export function ast(json: unknown, parameters: ParameterReader, settings: EncoderSettings = {}): EncoderBackbone {
  const config = parseConfig(astConfig, json, "AST");
  const { g } = parameters;
  const { hidden_size: d, num_attention_heads: heads } = config;
  const rows = patchesAlong("num_mel_bins", config, config.frequency_stride);
  const columns = patchesAlong("max_length", config, config.time_stride);
  const shape: BlockShape = {
    width: d,
    layout: headLayout("AST", "num_attention_heads", { width: d, heads }),
    intermediateSize: config.intermediate_size,
    activation: activationName(config.hidden_act, "hidden_act"),
    epsilon: config.layer_norm_eps,
    qkvBias: config.qkv_bias,
  };

  /** Input of the first block: [B, 2 + N, d], class and distillation tokens first. */
  function enter(features: Value): Value {
    const patches = embedSpectrogram(parameters, features, config, rows, columns);
    const tokens = ["cls_token", "dist_token"].map((name) => g.repeatFor(parameters.tensor(name, [1, 1, d]), patches));
    const positions = parameters.tensor("pos_embed", [1, 2 + rows * columns, d]);
    return g.add(g.concat([...tokens, patches], 1), positions);
  }

  return {
    architecture: "ast",
    modality: "audio",
    inputShape: [config.max_length, config.num_mel_bins],
    depth: config.num_hidden_layers,
    width: d,
    states: (features) =>
      throughBlocks(
        parameters,
        shape,
        config.num_hidden_layers,
        enter(features),
        (index, x) => vitBlock(parameters, `blocks.${index}`, x, shape),
        tokenPooling(settings, 2),
      ).classTokens,
  };
}
