import { z } from "zod";
import type { Value } from "../../graph/ir.js";
import { activationName } from "../../layers/activation.js";
import { softCap } from "../../layers/attention.js";
import { rmsNorm } from "../../layers/norm.js";
import { rotaryAngles } from "../../layers/rotary.js";
import { roundTo } from "../../tensor/float-conversion.js";
import type { DecoderBackbone } from "../backbone.js";
import { count, layerCount, parseConfig } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { type LayerType, layerTypes, resolveLayerTypes } from "./layer-types.js";
import { gatedFeedForward, rotaryLayout, selfAttention, tokenTables } from "./llama-block.js";
import { positionLimit, type RopeSettings, ropeSettings, rotaryScaling } from "./rope-config.js";

/**
 * Gemma 2 (arXiv 2408.00118) and the text model of Gemma 3 (arXiv 2503.19786), following
 * `models/gemma2/modeling_gemma2.py` and `models/gemma3/modeling_gemma3.py` of transformers. They differ from Llama in
 * scaled embeddings, norms whose weights are stored minus 1, norms before and after each sublayer, and layers with a
 * sliding window. Gemma 2 caps attention scores and logits; Gemma 3 normalises queries and keys and has rotary
 * positions of another base in layers with a window.
 */

const positive = z.number().positive();

/** Published configs omit many keys, whose values are those of transformers' configuration classes. */
export const gemmaConfig = z.object({
  model_type: z.enum(["gemma2", "gemma3_text", "gemma3"]),
  hidden_size: count.default(2304),
  intermediate_size: count.default(9216),
  num_hidden_layers: layerCount.default(26),
  num_attention_heads: count.default(8),
  num_key_value_heads: count.default(4),
  head_dim: count.default(256),
  hidden_activation: z.string().nullish(),
  vocab_size: count,
  max_position_embeddings: count,
  original_max_position_embeddings: count.nullish(),
  rms_norm_eps: positive.default(1e-6),
  attention_bias: z.boolean().default(false),
  query_pre_attn_scalar: positive.default(256),
  sliding_window: count.nullable().default(4096),
  sliding_window_pattern: count,
  layer_types: layerTypes.nullish(),
  final_logit_softcapping: positive.nullish(),
  attn_logit_softcapping: positive.nullish(),
  use_bidirectional_attention: z.literal(false).nullish(),
  rope_theta: positive,
  rope_local_base_freq: positive.default(10_000),
  rope_scaling: ropeSettings.nullish(),
  rope_parameters: ropeSettings
    .extend({ full_attention: ropeSettings.nullish(), sliding_attention: ropeSettings.nullish() })
    .nullish(),
  tie_word_embeddings: z.boolean().default(true),
});

type GemmaConfig = z.infer<typeof gemmaConfig>;

const defaults = {
  gemma2: {
    vocab_size: 256_000,
    max_position_embeddings: 8192,
    sliding_window_pattern: 2,
    final_logit_softcapping: 30,
    attn_logit_softcapping: 50,
    rope_theta: 10_000,
  },
  gemma3: {
    vocab_size: 262_208,
    max_position_embeddings: 131_072,
    sliding_window_pattern: 6,
    rope_theta: 1_000_000,
  },
};

/** The tensors of the text model; those of Gemma 3's image encoder are not part of it. */
export function gemmaName(name: string): string | undefined {
  if (/^(model\.)?(vision_tower|multi_modal_projector)\./.test(name)) return undefined;
  if (name.endsWith("rotary_emb.inv_freq")) return undefined;
  return name.replace(/^(model\.language_model\.|language_model\.model\.|language_model\.|model\.)/, "");
}

const compositeConfig = z.looseObject({
  model_type: z.literal("gemma3"),
  text_config: z.looseObject({}).default({}),
  tie_word_embeddings: z.boolean().nullish(),
});

/** The config of the text model, with the defaults of its type. A `gemma3` config contains it as `text_config`. */
function textConfig(json: unknown): unknown {
  const { data: composite } = compositeConfig.safeParse(json);
  if (composite) {
    const tied = composite.tie_word_embeddings ?? true;
    return { ...defaults.gemma3, ...composite.text_config, model_type: "gemma3", tie_word_embeddings: tied };
  }
  if (typeof json !== "object" || json === null) return json;
  const second = "model_type" in json && json.model_type === "gemma2";
  return { ...(second ? defaults.gemma2 : defaults.gemma3), ...json };
}

/** Base and scaling of the rotary positions of each type of layer. Gemma 2 has the same for both. */
function ropeOf(config: GemmaConfig, type: LayerType): RopeSettings & { rope_theta: number } {
  if (config.model_type === "gemma2") {
    const rope = config.rope_scaling ?? config.rope_parameters;
    return { ...rope, rope_theta: rope?.rope_theta ?? config.rope_theta };
  }
  // transformers reads `truncate` beside the settings of the types, not in them.
  const own = { ...config.rope_parameters?.[type], truncate: config.rope_parameters?.truncate };
  if (type === "sliding_attention") return { ...own, rope_theta: own.rope_theta ?? config.rope_local_base_freq };
  const rope = { ...own, ...config.rope_scaling, truncate: own.truncate };
  return { ...rope, rope_theta: rope.rope_theta ?? config.rope_theta };
}

/**
 * The factor of the embeddings: sqrt(d), rounded to the element type of the table, as in transformers. It is a
 * weight of the graph, so that a graph that is built from another graph has the same factor.
 */
function embeddingFactor({ g, weights }: ParameterReader, width: number): Value {
  const stored = weights.takeIfPresent(EMBEDDING_FACTOR, []);
  if (stored) return g.weight(EMBEDDING_FACTOR, stored);
  const factor = roundTo(weights.typeOf?.("embed_tokens.weight") ?? "float32", Math.sqrt(width));
  return g.weight(EMBEDDING_FACTOR, { type: "float32", shape: [], read: () => Float32Array.of(factor) });
}

const EMBEDDING_FACTOR = "embed_tokens.factor";

export function gemma(json: unknown, parameters: ParameterReader): DecoderBackbone {
  const config = parseConfig(gemmaConfig, textConfig(json), "Gemma");
  const { g } = parameters;
  const { hidden_size: d, vocab_size: vocabulary, num_hidden_layers: layers } = config;
  const layout = rotaryLayout("Gemma", {
    width: d,
    heads: config.num_attention_heads,
    keyHeads: config.num_key_value_heads,
    headSize: config.head_dim,
  });
  const { headSize: size } = layout;
  const second = config.model_type === "gemma2";
  const types = resolveLayerTypes("Gemma", {
    layers,
    listed: config.layer_types,
    slides: (layer) => (layer + 1) % config.sliding_window_pattern !== 0,
    window: config.sliding_window,
  });
  const rotary = (type: LayerType) => {
    const rope = ropeOf(config, type);
    const scaling = rotaryScaling("Gemma", rope, config, size);
    return { name: second ? "rotary" : `rotary.${type}`, size, theta: rope.rope_theta, scaling };
  };
  const cap = config.final_logit_softcapping;

  const tables = tokenTables(parameters, [vocabulary, d], config.tie_word_embeddings);
  const norm = (name: string, x: Value) => {
    const scale = parameters.tensor(`${name}.weight`, [Number(x.shape.at(-1))]);
    return rmsNorm(g, x, { scale: g.add(scale, g.number(1)), epsilon: config.rms_norm_eps });
  };
  const attentionOptions = {
    width: d,
    layout,
    biases: { inputs: config.attention_bias, output: config.attention_bias },
    headNorm: second ? undefined : norm,
    scores: {
      scale: config.query_pre_attn_scalar ** -0.5,
      // transformers ignores the key for Gemma 3.
      cap: second ? (config.attn_logit_softcapping ?? undefined) : undefined,
    },
  };
  const feedForwardOptions = {
    width: d,
    intermediateSize: config.intermediate_size,
    activation: activationName(config.hidden_activation ?? "gelu_pytorch_tanh", "hidden_activation"),
    bias: false,
  };

  return {
    architecture: config.model_type,
    shape: {
      layers,
      width: d,
      embeddingWidth: d,
      attention: layout,
      vocabulary,
      positions: positionLimit(config, [rotary("full_attention").scaling, rotary("sliding_attention").scaling]),
    },
    embed: (ids) => g.multiply(g.gather(tables.embedding(), ids), embeddingFactor(parameters, d)),
    enter: (embeddings) => embeddings,
    angles(positions) {
      const places = g.maximum(positions, g.integer(0));
      const full = rotaryAngles(g, places, rotary("full_attention"));
      if (second) return types.map(() => full);
      const sliding = rotaryAngles(g, places, rotary("sliding_attention"));
      return types.map((type) => (type === "full_attention" ? full : sliding));
    },
    window: (layer) => (types[layer] === "sliding_attention" ? (config.sliding_window ?? undefined) : undefined),
    layer(index, x, context) {
      const name = `layers.${index}`;
      const entering = norm(`${name}.input_layernorm`, x);
      const attended = selfAttention(parameters, `${name}.self_attn`, entering, context, attentionOptions);
      const middle = g.add(x, norm(`${name}.post_attention_layernorm`, attended.hidden));
      const normed = norm(`${name}.pre_feedforward_layernorm`, middle);
      const fed = gatedFeedForward(parameters, `${name}.mlp`, normed, feedForwardOptions);
      const hidden = g.add(middle, norm(`${name}.post_feedforward_layernorm`, fed));
      return { hidden, keysValues: attended.keysValues };
    },
    head(x) {
      const logits = g.matmulTransposed(norm("norm", x), tables.head());
      return cap ? softCap(g, logits, cap) : logits;
    },
  };
}
