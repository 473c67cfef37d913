import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import type { Value } from "../../graph/ir.js";
import { activationName } from "../../layers/activation.js";
import { rmsNorm } from "../../layers/norm.js";
import { rotaryAngles } from "../../layers/rotary.js";
import type { DecoderBackbone } from "../backbone.js";
import { count, layerCount, parseConfig } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { layerTypes, resolveLayerTypes } from "./layer-types.js";
import { gatedFeedForward, rotaryLayout, selfAttention, tokenTables } from "./llama-block.js";
import {
  partialRopeSettings,
  phi3Scaling,
  positionLimit,
  ropeSettings,
  rotaryScaling,
  rotatedSize,
} from "./rope-config.js";

/**
 * The Llama family (Touvron et al. 2023, arXiv 2302.13971): RMS norm, rotary positions, grouped-query attention,
 * SwiGLU. It follows `models/llama/modeling_llama.py` of transformers and the files of the models that differ from it
 * in few options: Llama 1 to 3 and SmolLM2; Qwen2 (biases on queries, keys and values); Qwen3 (norms of queries and
 * keys); Mistral (a sliding window); SmolLM3 (layers without positions); Phi-3 and Phi-4-mini (fused projections,
 * LongRoPE for a part of each head).
 */

/** What distinguishes a model type beyond its config, and transformers' values for keys that the file omits. */
interface Family {
  readonly defaults: Readonly<Record<string, unknown>>;
  /** Biases, if the model type determines them: of queries, keys and values; of the output; of the feed-forward. */
  readonly biases?: { readonly inputs?: boolean; readonly output?: boolean; readonly mlp?: boolean };
  /** Whether queries and keys are normalised by head. */
  readonly headNorms?: boolean;
  /** Whether the projections with the same input are one tensor. */
  readonly fused?: boolean;
}

const families = {
  llama: { defaults: {} },
  qwen2: {
    defaults: { sliding_window: 4096, max_window_layers: 28 },
    biases: { inputs: true, output: false, mlp: false },
  },
  qwen3: {
    defaults: { num_key_value_heads: 32, head_dim: 128, sliding_window: 4096, max_window_layers: 28 },
    biases: { mlp: false },
    headNorms: true,
  },
  mistral: {
    defaults: { num_key_value_heads: 8, sliding_window: 4096 },
    biases: { inputs: false, output: false, mlp: false },
  },
  smollm3: { defaults: { num_key_value_heads: 4, rope_theta: 2_000_000, tie_word_embeddings: true } },
  phi3: {
    defaults: { max_position_embeddings: 4096, original_max_position_embeddings: 4096, rms_norm_eps: 1e-5 },
    biases: { inputs: false, output: false, mlp: false },
    fused: true,
  },
} as const satisfies Readonly<Record<string, Family>>;

const modelTypes = z.enum(["llama", "qwen2", "qwen3", "mistral", "smollm3", "phi3"]);

export const llamaConfig = z.object({
  model_type: modelTypes,
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  num_key_value_heads: count.nullish(),
  head_dim: count.nullish(),
  vocab_size: count,
  max_position_embeddings: count,
  original_max_position_embeddings: count.nullish(),
  rms_norm_eps: z.number().positive().default(1e-6),
  rope_theta: z.number().positive().default(10_000),
  rope_scaling: ropeSettings.nullish(),
  rope_parameters: ropeSettings.nullish(),
  hidden_act: z.string().default("silu"),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  use_sliding_window: z.boolean().default(false),
  sliding_window: count.nullish(),
  max_window_layers: z.int().min(0).default(0),
  layer_types: layerTypes.nullish(),
  no_rope_layers: z.array(z.union([z.literal(0), z.literal(1)])).nullish(),
  no_rope_layer_interval: count.default(4),
  tie_word_embeddings: z.boolean().default(false),
});

const phi3Config = llamaConfig.extend({
  partial_rotary_factor: z.number().positive().max(1).nullish(),
  rope_scaling: partialRopeSettings.nullish(),
  rope_parameters: partialRopeSettings.nullish(),
});

type LlamaConfig = z.infer<typeof phi3Config>;

/** Frequencies are computed from the config; old checkpoints also store them as tensors. */
export function llamaName(name: string): string | undefined {
  return name.endsWith("rotary_emb.inv_freq") ? undefined : name.replace(/^model\./, "");
}

function familyOf(json: unknown): Family {
  const { data } = z.looseObject({ model_type: modelTypes }).safeParse(json);
  return families[data?.model_type ?? "llama"];
}

/** The window of each layer; undefined for layers that attend to everything. */
function windowsOf(config: LlamaConfig): readonly (number | undefined)[] {
  const { num_hidden_layers: layers, model_type: type, use_sliding_window: used } = config;
  if (type === "llama") return [];
  if (type === "mistral" || type === "phi3") {
    return new Array<number | undefined>(layers).fill(config.sliding_window ?? undefined);
  }
  // A list of types can make layers of SmolLM3 slide even if the window is not used otherwise.
  const window = used || type === "smollm3" ? config.sliding_window : undefined;
  const types = resolveLayerTypes("Llama", {
    layers,
    listed: config.layer_types,
    slides: (layer) =>
      used && !!window && (type === "smollm3" ? !hasPositions(config, layer) : layer >= config.max_window_layers),
    window,
  });
  return types.map((kind) => (kind === "sliding_attention" ? (window ?? undefined) : undefined));
}

/** Whether a layer rotates queries and keys. */
function hasPositions(config: LlamaConfig, layer: number): boolean {
  if (config.model_type !== "smollm3") return true;
  const listed = config.no_rope_layers;
  if (!listed) return (layer + 1) % config.no_rope_layer_interval !== 0;
  const found = listed[layer];
  if (found !== undefined) return found === 1;
  throw new EpalmError(
    "unsupported_architecture",
    `Llama config.json: 'no_rope_layers': expected ${config.num_hidden_layers} numbers, got ${listed.length}`,
  );
}

/** The rotary positions of a config. @param headSize that of the layout */
function rotaryOf(config: LlamaConfig, headSize: number) {
  const rope = config.rope_scaling ?? config.rope_parameters;
  const share = rope?.partial_rotary_factor ?? config.partial_rotary_factor ?? 1;
  const size = rotatedSize("Llama", headSize, share);
  const scaling =
    config.model_type === "phi3" ? phi3Scaling(rope, config, size) : rotaryScaling("Llama", rope, config, size);
  return { size, theta: rope?.rope_theta ?? config.rope_theta, scaling };
}

export function llama(json: unknown, parameters: ParameterReader): DecoderBackbone {
  const family = familyOf(json);
  const withDefaults = typeof json === "object" ? { ...family.defaults, ...json } : json;
  const config: LlamaConfig = parseConfig(family.fused ? phi3Config : llamaConfig, withDefaults, "Llama");
  const { g } = parameters;
  const { hidden_size: d, num_attention_heads: heads, vocab_size: vocabulary, num_hidden_layers: layers } = config;
  const layout = rotaryLayout("Llama", {
    width: d,
    heads,
    keyHeads: config.num_key_value_heads ?? undefined,
    headSize: config.head_dim,
  });
  const activation = activationName(config.hidden_act, "hidden_act");
  const rotary = rotaryOf(config, layout.headSize);
  const windows = windowsOf(config);
  const rotates = Array.from({ length: layers }, (_, layer) => hasPositions(config, layer));

  const tables = tokenTables(parameters, [vocabulary, d], config.tie_word_embeddings);
  const norm = (name: string, x: Value) =>
    rmsNorm(g, x, {
      scale: parameters.tensor(`${name}.weight`, [Number(x.shape.at(-1))]),
      epsilon: config.rms_norm_eps,
    });
  const attentionOptions = {
    width: d,
    layout,
    biases: {
      inputs: family.biases?.inputs ?? config.attention_bias,
      output: family.biases?.output ?? config.attention_bias,
    },
    headNorm: family.headNorms ? norm : undefined,
    fused: family.fused,
  };
  const feedForwardOptions = {
    width: d,
    intermediateSize: config.intermediate_size,
    activation,
    bias: family.biases?.mlp ?? config.mlp_bias,
    fused: family.fused,
  };

  return {
    architecture: config.model_type,
    shape: {
      layers,
      width: d,
      embeddingWidth: d,
      attention: layout,
      vocabulary,
      positions: positionLimit(config, [rotary.scaling]),
    },
    embed: (ids) => g.gather(tables.embedding(), ids),
    enter: (embeddings) => embeddings,
    angles(positions) {
      const angles = rotaryAngles(g, g.maximum(positions, g.integer(0)), rotary);
      return rotates.map((rotated) => (rotated ? angles : undefined));
    },
    window: (layer) => windows[layer],
    layer(index, x, context) {
      const name = `layers.${index}`;
      const entering = norm(`${name}.input_layernorm`, x);
      const attended = selfAttention(parameters, `${name}.self_attn`, entering, context, attentionOptions);
      const middle = g.add(x, attended.hidden);
      const normed = norm(`${name}.post_attention_layernorm`, middle);
      const fed = gatedFeedForward(parameters, `${name}.mlp`, normed, feedForwardOptions);
      return { hidden: g.add(middle, fed), keysValues: attended.keysValues };
    },
    head(x) {
      return g.matmulTransposed(norm("norm", x), tables.head());
    },
  };
}
