import { EpalmError } from "../errors.js";
import type { DecoderBackbone, EncoderBackbone } from "./backbone.js";
import { gpt2, gpt2Name } from "./gpt2.js";
import { llama, llamaName } from "./llama.js";
import { opt, optName } from "./opt.js";
import type { ParameterReader } from "./parameters.js";
import { vit, vitName } from "./vit.js";

/** How one `model_type` of a public config.json becomes a backbone. */
export interface Architecture<Backbone> {
  /** A checkpoint's tensor name as the architecture's file spells it; undefined for what is no part of it. */
  rename(name: string): string | undefined;
  build(config: unknown, parameters: ParameterReader): Backbone;
}

const decoders: Readonly<Record<string, Architecture<DecoderBackbone>>> = {
  opt: { rename: optName, build: opt },
  gpt2: { rename: gpt2Name, build: gpt2 },
  llama: { rename: llamaName, build: llama },
  qwen2: { rename: llamaName, build: llama },
};

const encoders: Readonly<Record<string, Architecture<EncoderBackbone>>> = {
  vit: { rename: vitName, build: vit },
  deit: { rename: vitName, build: vit },
  vit_mae: { rename: vitName, build: vit },
};

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

export function encoderArchitecture(modelType: string, where: string): Architecture<EncoderBackbone> {
  return find(encoders, "an encoder", modelType, where);
}
