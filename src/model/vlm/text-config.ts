import { z } from "zod";
import { count, layerCount } from "../../backbones/config.js";
import { decoderArchitecture } from "../../backbones/registry.js";
import { parse } from "../../core/schema.js";

/**
 * transformers' values for keys that a nested `text_config` omits: public files contain only what differs from them.
 * Source: transformers 5.18, `models/<name>/configuration_<name>.py`.
 */
const defaults: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  llama: {
    ...{ vocab_size: 32_000, hidden_size: 4096, intermediate_size: 11_008, num_hidden_layers: 32 },
    ...{ num_attention_heads: 32, max_position_embeddings: 2048, bos_token_id: 1, eos_token_id: 2 },
  },
  qwen2: {
    ...{ vocab_size: 151_936, hidden_size: 4096, intermediate_size: 22_016, num_hidden_layers: 32 },
    ...{ num_attention_heads: 32, num_key_value_heads: 32, max_position_embeddings: 32_768 },
  },
  mistral: {
    ...{ vocab_size: 32_000, hidden_size: 4096, intermediate_size: 14_336, num_hidden_layers: 32 },
    ...{ num_attention_heads: 32, max_position_embeddings: 131_072, bos_token_id: 1, eos_token_id: 2 },
  },
};

const textConfig = z.looseObject({
  model_type: z.string(),
  hidden_size: count,
  num_hidden_layers: layerCount,
  tie_word_embeddings: z.boolean().optional(),
});

export type TextConfig = z.infer<typeof textConfig>;

/** The config of the decoder in that of a whole model. @param where the file, for messages */
export function readTextConfig(nested: Readonly<Record<string, unknown>>, where: string): TextConfig {
  const { model_type = "llama" } = nested;
  decoderArchitecture(String(model_type), `${where}: text_config`);
  const given = { ...defaults[String(model_type)], ...nested, model_type };
  return parse(textConfig, given, `${where}: text_config`, "unsupported_architecture");
}

/** The names of a decoder's tensors in a whole model of transformers, and a name of the output head beside it. */
export function textName(name: string, prefix: string): string | undefined {
  const [, inside] = new RegExp(`^(?:model\\.)?${prefix}\\.(.+)$`).exec(name) ?? [];
  return inside ?? (name === "lm_head.weight" ? name : undefined);
}
