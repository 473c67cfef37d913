import { EpalmError } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import type { DecoderBackbone, EncoderBackbone, EncoderSettings, Pooling } from "./backbone.js";
import { bloom, bloomName } from "./decoders/bloom.js";
import { gemma, gemmaName } from "./decoders/gemma.js";
import { gptNeox, gptNeoxName } from "./decoders/gpt-neox.js";
import { gpt2, gpt2Name } from "./decoders/gpt2.js";
import { gptj, gptjName } from "./decoders/gptj.js";
import { llama, llamaName } from "./decoders/llama.js";
import { opt, optName } from "./decoders/opt.js";
import { ast, astConfigFromTensors, astName } from "./encoders/ast.js";
import { clip, clipConfigFromTensors, clipFirstTensor, clipName } from "./encoders/clip.js";
import { dinov2, dinov2ConfigFromTensors, dinov2Name } from "./encoders/dinov2.js";
import { dinov3, dinov3ConfigFromTensors, dinov3Name } from "./encoders/dinov3.js";
import { eva02, eva02ConfigFromTensors, eva02Name } from "./encoders/eva02.js";
import { siglip, siglipConfigFromTensors, siglipName } from "./encoders/siglip.js";
import { timesformer, timesformerConfigFromTensors, timesformerName } from "./encoders/timesformer.js";
import type { TensorShapes, TimmSettings } from "./encoders/timm-config.js";
import { videomae, videomaeConfigFromTensors, videomaeFirstTensor, videomaeName } from "./encoders/videomae.js";
import { vit, vitConfigFromTensors, vitName } from "./encoders/vit.js";
import { vjepa2, vjepa2ConfigFromTensors, vjepa2FirstTensor, vjepa2Name } from "./encoders/vjepa2.js";
import { whisper, whisperConfigFromTensors, whisperFirstTensor, whisperName } from "./encoders/whisper.js";
import type { ParameterReader } from "./parameters.js";

/** How to build the backbone for one `model_type` of a public config.json. */
export interface Architecture<Backbone> {
  /** Converts a tensor name of a checkpoint to the architecture's own; undefined if the tensor is not part of it. */
  rename(name: string): string | undefined;
  build(config: unknown, parameters: ParameterReader): Backbone;
}

export interface EncoderArchitecture extends Architecture<EncoderBackbone> {
  readonly modality: Modality;
  /** Whether it can be built for any size of images (`EncoderSettings.imageSize`). Default: false. */
  readonly anyImageSize?: boolean;
  /** The possible poolings of its states; the first one is the default. Default: only `cls`. */
  readonly poolings?: readonly Pooling[];
  /** Matches the first tensor of the encoder; its first group is a prefix. Default: that of a ViT. */
  readonly firstTensor?: RegExp;
  rename(name: string, settings?: EncoderSettings): string | undefined;
  build(config: unknown, parameters: ParameterReader, settings?: EncoderSettings): EncoderBackbone;
  /** Derives a config for a file of weights only from the shapes of its tensors, by the architecture's own names. */
  configFromTensors(shapeOf: TensorShapes, settings: TimmSettings): unknown;
}

const decoders: Readonly<Record<string, Architecture<DecoderBackbone>>> = {
  opt: { rename: optName, build: opt },
  gpt2: { rename: gpt2Name, build: gpt2 },
  gpt_neox: { rename: gptNeoxName, build: gptNeox },
  bloom: { rename: bloomName, build: bloom },
  gptj: { rename: gptjName, build: gptj },
  llama: { rename: llamaName, build: llama },
  mistral: { rename: llamaName, build: llama },
  smollm3: { rename: llamaName, build: llama },
  phi3: { rename: llamaName, build: llama },
  qwen2: { rename: llamaName, build: llama },
  qwen3: { rename: llamaName, build: llama },
  gemma2: { rename: gemmaName, build: gemma },
  gemma3_text: { rename: gemmaName, build: gemma },
  gemma3: { rename: gemmaName, build: gemma },
};

const vitArchitecture: EncoderArchitecture = {
  modality: "image",
  poolings: ["cls", "mean"],
  rename: vitName,
  build: vit,
  configFromTensors: vitConfigFromTensors,
};

const dinov2Architecture: EncoderArchitecture = {
  modality: "image",
  poolings: ["cls", "mean"],
  anyImageSize: true,
  rename: dinov2Name,
  build: dinov2,
  configFromTensors: dinov2ConfigFromTensors,
};

const clipArchitecture: EncoderArchitecture = {
  modality: "image",
  poolings: ["cls", "mean"],
  firstTensor: clipFirstTensor,
  rename: clipName,
  build: clip,
  configFromTensors: clipConfigFromTensors,
};

const siglipArchitecture: EncoderArchitecture = {
  modality: "image",
  poolings: ["mean", "attention"],
  firstTensor: clipFirstTensor,
  rename: siglipName,
  build: siglip,
  configFromTensors: siglipConfigFromTensors,
};

/** EVA-02 has no `model_type`; timm's classifiers have a norm of the mean of the patches, EVA-CLIP a final norm. */
const eva02Architecture: EncoderArchitecture = {
  modality: "image",
  poolings: ["cls", "mean"],
  rename: eva02Name,
  build: eva02,
  configFromTensors: eva02ConfigFromTensors,
};
const eva02Classifier: EncoderArchitecture = { ...eva02Architecture, poolings: ["mean"] };

const encoders = {
  vit: vitArchitecture,
  deit: vitArchitecture,
  // The loss of a masked autoencoder does not train the class token, and fine-tuning saves it as `vit`.
  vit_mae: { ...vitArchitecture, poolings: ["mean", "cls"] },
  vit_msn: vitArchitecture,
  dinov2: dinov2Architecture,
  dinov2_with_registers: dinov2Architecture,
  dinov3_vit: {
    modality: "image",
    poolings: ["cls", "mean"],
    anyImageSize: true,
    rename: dinov3Name,
    build: dinov3,
    configFromTensors: dinov3ConfigFromTensors,
  },
  clip: clipArchitecture,
  clip_vision_model: clipArchitecture,
  siglip: siglipArchitecture,
  siglip_vision_model: siglipArchitecture,
  siglip2: siglipArchitecture,
  siglip2_vision_model: siglipArchitecture,
  "audio-spectrogram-transformer": {
    modality: "audio",
    poolings: ["cls", "mean"],
    rename: astName,
    build: ast,
    configFromTensors: astConfigFromTensors,
  },
  whisper: {
    modality: "audio",
    poolings: ["mean"],
    firstTensor: whisperFirstTensor,
    rename: whisperName,
    build: whisper,
    configFromTensors: whisperConfigFromTensors,
  },
  timesformer: {
    modality: "video",
    poolings: ["cls", "mean"],
    rename: timesformerName,
    build: timesformer,
    configFromTensors: timesformerConfigFromTensors,
  },
  videomae: {
    modality: "video",
    poolings: ["mean"],
    firstTensor: videomaeFirstTensor,
    rename: videomaeName,
    build: videomae,
    configFromTensors: videomaeConfigFromTensors,
  },
  vjepa2: {
    modality: "video",
    poolings: ["mean"],
    firstTensor: vjepa2FirstTensor,
    rename: vjepa2Name,
    build: vjepa2,
    configFromTensors: vjepa2ConfigFromTensors,
  },
} as const satisfies Readonly<Record<string, EncoderArchitecture>>;

function find<T>(table: Readonly<Record<string, T>>, role: string, modelType: string, where: string): T {
  const found = Object.hasOwn(table, modelType) ? table[modelType] : undefined;
  if (found) return found;
  const known = Object.keys(table).join(", ");
  throw new EpalmError(
    "unsupported_architecture",
    `${where}: 'model_type': expected ${role} (${known}), got '${modelType}'`,
  );
}

export function decoderArchitecture(modelType: string, where: string): Architecture<DecoderBackbone> {
  return find(decoders, "a decoder", modelType, where);
}

export function encoderArchitecture(modelType: string, where: string): EncoderArchitecture {
  if (modelType === "clap" || modelType === "clap_audio_model") {
    throw new EpalmError(
      "unsupported_architecture",
      `${where}: 'model_type': expected a plain transformer, got '${modelType}': CLAP's audio encoder, HTSAT, is a ` +
        "Swin transformer, whose attention is limited to windows and whose blocks differ in width; " +
        "encoders of audio are audio-spectrogram-transformer and whisper",
    );
  }
  return find<EncoderArchitecture>(encoders, "an encoder", modelType, where);
}

/** Tensors that only one architecture has, in the names of every library that publishes it. */
const characteristicTensors: readonly (readonly [tensor: RegExp, EncoderArchitecture])[] = [
  [/(^|\.)v\.patch_embed\./, encoders["audio-spectrogram-transformer"]],
  [/(^|\.)time_embed$/, encoders.timesformer],
  [/\.attention\.attention\.q_bias$/, encoders.videomae],
  [/(^|\.)(norm_pre|ln_pre|pre_layrnorm)\./, clipArchitecture],
  [/(^|\.)(attn_pool\.latent|head\.probe)$/, siglipArchitecture],
  [/(^|\.)encoder\.conv2\.weight$/, encoders.whisper],
  [/(^|\.)encoder\.embeddings\.patch_embeddings\.proj\.weight$/, encoders.vjepa2],
];

/** The architecture of weights without a config: that of a characteristic tensor; others are ViTs. */
export function bareEncoderArchitecture(tensorNames: Iterable<string>): EncoderArchitecture {
  const names = [...tensorNames];
  const has = (tensor: RegExp) => names.some((name) => tensor.test(name));
  const found = characteristicTensors.find(([tensor]) => has(tensor));
  if (found) return found[1];
  const isPositioned = has(/(^|\.)pos_embed$/);
  if (has(/(^|\.)blocks\.(\d+\.)+(ls1\.gamma|gamma_1)$/)) return isPositioned ? encoders.dinov2 : encoders.dinov3_vit;
  if (isPositioned && has(/(^|\.)blocks\.\d+\.attn\.(q_proj\.weight|q_bias)$/)) {
    return has(/(^|\.)fc_norm\.weight$/) ? eva02Classifier : eva02Architecture;
  }
  const isWithoutClass = has(/(^|\.)patch_embed\.proj\.weight$/) && !has(/(^|\.)cls_token$/);
  return isWithoutClass ? siglipArchitecture : encoders.vit;
}
