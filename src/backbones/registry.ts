import { EpalmError } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import { ast, astConfigFromTensors, astName } from "./ast.js";
import type { DecoderBackbone, EncoderBackbone, EncoderSettings } from "./backbone.js";
import { dinov2, dinov2ConfigFromTensors, dinov2Name } from "./dinov2.js";
import { dinov3, dinov3ConfigFromTensors, dinov3Name } from "./dinov3.js";
import { gpt2, gpt2Name } from "./gpt2.js";
import { llama, llamaName } from "./llama.js";
import { opt, optName } from "./opt.js";
import type { ParameterReader } from "./parameters.js";
import { timesformer, timesformerConfigFromTensors, timesformerName } from "./timesformer.js";
import type { TensorShapes, TimmSettings } from "./timm-config.js";
import { vit, vitConfigFromTensors, vitName } from "./vit.js";

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
  build(config: unknown, parameters: ParameterReader, settings?: EncoderSettings): EncoderBackbone;
  /** Derives a config for a file of weights only from the shapes of its tensors, by the architecture's own names. */
  configFromTensors(shapeOf: TensorShapes, settings: TimmSettings): unknown;
}

const decoders: Readonly<Record<string, Architecture<DecoderBackbone>>> = {
  opt: { rename: optName, build: opt },
  gpt2: { rename: gpt2Name, build: gpt2 },
  llama: { rename: llamaName, build: llama },
  qwen2: { rename: llamaName, build: llama },
};

const vitArchitecture: EncoderArchitecture = {
  modality: "image",
  rename: vitName,
  build: vit,
  configFromTensors: vitConfigFromTensors,
};

const dinov2Architecture: EncoderArchitecture = {
  modality: "image",
  anyImageSize: true,
  rename: dinov2Name,
  build: dinov2,
  configFromTensors: dinov2ConfigFromTensors,
};

const encoders = {
  vit: vitArchitecture,
  deit: vitArchitecture,
  vit_mae: vitArchitecture,
  vit_msn: vitArchitecture,
  dinov2: dinov2Architecture,
  dinov2_with_registers: dinov2Architecture,
  dinov3_vit: {
    modality: "image",
    anyImageSize: true,
    rename: dinov3Name,
    build: dinov3,
    configFromTensors: dinov3ConfigFromTensors,
  },
  "audio-spectrogram-transformer": {
    modality: "audio",
    rename: astName,
    build: ast,
    configFromTensors: astConfigFromTensors,
  },
  timesformer: {
    modality: "video",
    rename: timesformerName,
    build: timesformer,
    configFromTensors: timesformerConfigFromTensors,
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
  return find<EncoderArchitecture>(encoders, "an encoder", modelType, where);
}

/**
 * The architecture of weights without a config. AST and TimeSformer have characteristic tensors, DINOv2 and DINOv3
 * scale their residuals, and others are ViTs.
 */
export function bareEncoderArchitecture(tensorNames: Iterable<string>): EncoderArchitecture {
  const names = [...tensorNames];
  const some = (pattern: RegExp) => names.some((name) => pattern.test(name));
  if (some(/(^|\.)v\.patch_embed\./)) return encoders["audio-spectrogram-transformer"];
  if (some(/(^|\.)time_embed$/)) return encoders.timesformer;
  if (some(/(^|\.)blocks\.(\d+\.)+(ls1\.gamma|gamma_1)$/)) {
    return some(/(^|\.)pos_embed$/) ? encoders.dinov2 : encoders.dinov3_vit;
  }
  return encoders.vit;
}
