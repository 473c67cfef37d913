import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { count, layerCount } from "../../backbones/config.js";
import { parse } from "../../core/schema.js";
import { nanoVlmPreprocessing } from "../../preprocessing/image-preprocessing.js";
import { readJson, type Source } from "../source-folder.js";
import { connectorAdapter, partOf, type VlmParts } from "./vlm-parts.js";

/**
 * nanoVLM as published with `lusxvr/nanoVLM-222M`: SigLIP, pixel shuffle, one linear, and SmolLM2; the visual tokens
 * precede the prompt. The keys of its config are those of `VLMConfig` in huggingface/nanoVLM.
 */
const nanoVlmConfig = z.object({
  vit_hidden_dim: count,
  vit_inter_dim: count,
  vit_patch_size: count,
  vit_img_size: count,
  vit_n_heads: count,
  vit_n_blocks: layerCount,
  vit_ln_eps: z.number().positive().default(1e-6),
  vit_cls_flag: z.literal(false).default(false),
  lm_hidden_dim: count,
  lm_inter_dim: count,
  lm_rms_eps: z.number().positive().default(1e-5),
  lm_re_base: z.number().positive().default(100_000),
  lm_max_position_embeddings: count.default(8192),
  lm_vocab_size: count,
  lm_n_heads: count,
  lm_n_kv_heads: count,
  lm_n_blocks: layerCount,
  lm_attn_scaling: z.literal(1).default(1),
  lm_tie_weights: z.boolean().default(true),
  lm_tokenizer: z.string().optional(),
  lm_eos_token_id: z.int().min(0).optional(),
  mp_pixel_shuffle_factor: z.int().min(1),
  vlm_extra_tokens: z
    .undefined("expected none; later versions of nanoVLM, which split images, are not supported")
    .optional(),
});

/** Whether a config is nanoVLM's, which names no model type. */
export function isNanoVlm(config: Source["config"]): boolean {
  return config !== undefined && "vit_hidden_dim" in config && "lm_hidden_dim" in config;
}

/** The hub id of the tokenizer of a nanoVLM, whose repositories contain none; undefined if the folder has its own. */
export function separateTokenizer(folder: string): string | undefined {
  const config = readJson(join(folder, "config.json"));
  if (!isNanoVlm(config) || existsSync(join(folder, "tokenizer.json"))) return undefined;
  return typeof config?.lm_tokenizer === "string" ? config.lm_tokenizer : undefined;
}

/** Takes a nanoVLM apart. @throws unsupported_architecture, naming the field; invalid_checkpoint */
export function splitNanoVlm(source: Source): VlmParts {
  const config = parse(nanoVlmConfig, source.config, `${source.folder}/config.json`, "unsupported_architecture");
  const { mp_pixel_shuffle_factor: side } = config;
  return {
    encoder: {
      ...source,
      config: {
        model_type: "siglip_vision_model",
        hidden_size: config.vit_hidden_dim,
        intermediate_size: config.vit_inter_dim,
        num_hidden_layers: config.vit_n_blocks,
        num_attention_heads: config.vit_n_heads,
        image_size: config.vit_img_size,
        patch_size: config.vit_patch_size,
        layer_norm_eps: config.vit_ln_eps,
      },
      checkpoint: partOf(source.checkpoint, visionName),
      imagePreprocessing: nanoVlmPreprocessing(config.vit_img_size),
    },
    patches: { normed: true },
    decoder: {
      ...source,
      config: {
        model_type: "llama",
        hidden_size: config.lm_hidden_dim,
        intermediate_size: config.lm_inter_dim,
        num_hidden_layers: config.lm_n_blocks,
        num_attention_heads: config.lm_n_heads,
        num_key_value_heads: config.lm_n_kv_heads,
        vocab_size: config.lm_vocab_size,
        max_position_embeddings: config.lm_max_position_embeddings,
        rms_norm_eps: config.lm_rms_eps,
        rope_theta: config.lm_re_base,
        tie_word_embeddings: config.lm_tie_weights,
        ...(config.lm_eos_token_id === undefined ? {} : { eos_token_id: config.lm_eos_token_id }),
      },
      checkpoint: partOf(source.checkpoint, textName),
    },
    adapter: connectorAdapter(
      source.checkpoint,
      { kind: "prefix", states: side === 1 ? "all" : { pixelShuffle: side }, projection: "linear", norm: false },
      config.lm_n_blocks,
      { "connector.0.weight": "MP.proj.weight" },
    ),
    prompts: { imageToken: "", image: "{medium}", plain: "{medium}Question: {text} Answer:" },
  };
}

/** Names of the encoder's parts, and those of timm, which `siglip` takes as well. */
const visionNames: readonly (readonly [RegExp, string])[] = [
  [/^patch_embedding\.conv\./, "patch_embed.proj."],
  [/^patch_embedding\.position_embedding$/, "pos_embed"],
  [/^(blocks\.\d+)\.ln(\d)\./, "$1.norm$2."],
  [/^(blocks\.\d+)\.attn\.qkv_proj\./, "$1.attn.qkv."],
  [/^(blocks\.\d+)\.attn\.out_proj\./, "$1.attn.proj."],
  [/^layer_norm\./, "norm."],
];

/** Names of the decoder's parts, and those of Llama. */
const textNames: readonly (readonly [RegExp, string])[] = [
  [/^token_embedding\./, "embed_tokens."],
  [/^blocks\.(\d+)\.norm1\./, "layers.$1.input_layernorm."],
  [/^blocks\.(\d+)\.norm2\./, "layers.$1.post_attention_layernorm."],
  [/^blocks\.(\d+)\.attn\.out_proj\./, "layers.$1.self_attn.o_proj."],
  [/^blocks\.(\d+)\.attn\./, "layers.$1.self_attn."],
  [/^blocks\.(\d+)\.mlp\./, "layers.$1.mlp."],
  [/^head\./, "lm_head."],
];

function visionName(name: string): string | undefined {
  return renamed(name, "vision_encoder.", visionNames);
}

function textName(name: string): string | undefined {
  return name.endsWith("rotary_embd.inv_freq") ? undefined : renamed(name, "decoder.", textNames);
}

function renamed(name: string, prefix: string, table: typeof visionNames): string | undefined {
  if (!name.startsWith(prefix)) return undefined;
  const own = name.slice(prefix.length);
  const [from, to] = table.find(([pattern]) => pattern.test(own)) ?? [];
  return from && to !== undefined ? own.replace(from, to) : own;
}
