import { EpalmError } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import { ast, astConfigFromTensors, astName } from "./ast.js";
import type { DecoderBackbone, EncoderBackbone, EncoderSettings } from "./backbone.js";
import { gemma, gemmaName } from "./gemma.js";
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
  build(config: unknown, parameters: ParameterReader, settings?: EncoderSettings): EncoderBackbone;
  /** Derives a config for a file of weights only from the shapes of its tensors, by the architecture's own names. */
  configFromTensors(shapeOf: TensorShapes, settings: TimmSettings): unknown;
}

const decoders: Readonly<Record<string, Architecture<DecoderBackbone>>> = {
  opt: { rename: optName, build: opt },
  gpt2: { rename: gpt2Name, build: gpt2 },
  llama: { rename: llamaName, build: llama },
  mistral: { rename: llamaName, build: llama },
  smollm3: { rename: llamaName, build: llama },
  qwen2: { rename: llamaName, build: llama },
  qwen3: { rename: llamaName, build: llama },
  gemma2: { rename: gemmaName, build: gemma },
  gemma3_text: { rename: gemmaName, build: gemma },
  gemma3: { rename: gemmaName, build: gemma },
};

const vitArchitecture: EncoderArchitecture = {
  modality: "image",
  rename: vitName,
  build: vit,
  configFromTensors: vitConfigFromTensors,
};

const encoders = {
  vit: vitArchitecture,
  deit: vitArchitecture,
  vit_mae: vitArchitecture,
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

/** The architecture of weights without a config. AST and TimeSformer have characteristic tensors; others are ViTs. */
export function bareEncoderArchitecture(tensorNames: Iterable<string>): EncoderArchitecture {
  for (const name of tensorNames) {
    if (/(^|\.)v\.patch_embed\./.test(name)) return encoders["audio-spectrogram-transformer"];
    if (/(^|\.)time_embed$/.test(name)) return encoders.timesformer;
  }
  return encoders.vit;
}
