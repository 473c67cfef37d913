import { z } from "zod";
import { EpalmError } from "../core/errors.js";
import type { Value } from "../graph/ir.js";
import { activate, activationName } from "../layers/activation.js";
import { attention, splitHeads } from "../layers/attention.js";
import { linear } from "../layers/linear.js";
import { rmsNorm } from "../layers/norm.js";
import { type RotaryScaling, rotaryAngles, rotate } from "../layers/rotary.js";
import type { DecoderBackbone, LayerContext, LayerOutput } from "./backbone.js";
import { count, headLayout, layerCount, parseConfig } from "./config.js";
import type { ParameterReader } from "./parameters.js";

/**
 * The Llama family (Touvron et al. 2023, arXiv 2302.13971): Llama 1 to 3, SmolLM2, and Qwen2, which has biases on
 * queries, keys and values. It follows `models/llama/modeling_llama.py` of transformers: RMS norm, rotary positions,
 * grouped-query attention, SwiGLU.
 */

/** Older versions of transformers write `rope_scaling`, newer ones `rope_parameters`. */
const ropeScaling = z.object({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
  factor: z.number().positive().optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: count.optional(),
  partial_rotary_factor: z.literal(1).optional(),
});

export const llamaConfig = z.object({
  model_type: z.enum(["llama", "qwen2"]),
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  num_key_value_heads: count.optional(),
  head_dim: count.nullish(),
  vocab_size: count,
  max_position_embeddings: count,
  rms_norm_eps: z.number().positive(),
  rope_theta: z.number().positive().optional(),
  rope_scaling: ropeScaling.nullish(),
  rope_parameters: ropeScaling.nullish(),
  hidden_act: z.string().default("silu"),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  use_sliding_window: z.literal(false).default(false),
  tie_word_embeddings: z.boolean().optional(),
});

/** transformers' default if the file does not specify one. */
const DEFAULT_ROPE_THETA = 10_000;

/** Frequencies are computed from the config; old checkpoints also store them as tensors. */
export function llamaName(name: string): string | undefined {
  return name.endsWith("rotary_emb.inv_freq") ? undefined : name.replace(/^model\./, "");
}

function rotaryScaling(rope: z.infer<typeof ropeScaling> | null | undefined): RotaryScaling {
  const kind = rope?.rope_type ?? rope?.type ?? "default";
  const need = (value: number | undefined, key: string) => {
    if (value !== undefined) return value;
    throw new EpalmError("unsupported_architecture", `Llama config.json: rope_scaling '${kind}' needs '${key}'`);
  };
  switch (kind) {
    case "default":
      return { kind: "none" };
    case "linear":
      return { kind: "linear", factor: need(rope?.factor, "factor") };
    case "llama3":
      return {
        kind: "llama3",
        factor: need(rope?.factor, "factor"),
        lowFrequencyFactor: need(rope?.low_freq_factor, "low_freq_factor"),
        highFrequencyFactor: need(rope?.high_freq_factor, "high_freq_factor"),
        originalPositions: need(rope?.original_max_position_embeddings, "original_max_position_embeddings"),
      };
    default:
      throw new EpalmError(
        "unsupported_architecture",
        `Llama config.json: rope_scaling: expected default, linear or llama3, got '${kind}'`,
      );
  }
}

export function llama(json: unknown, parameters: ParameterReader): DecoderBackbone {
  const config = parseConfig(llamaConfig, json, "Llama");
  const { g } = parameters;
  const { hidden_size: d, num_attention_heads: heads, vocab_size: vocabulary } = config;
  const layout = headLayout("Llama", "num_attention_heads", {
    width: d,
    heads,
    keyHeads: config.num_key_value_heads,
    headSize: config.head_dim,
  });
  const { keyHeads, headSize } = layout;
  if (headSize % 2 !== 0) {
    throw new EpalmError(
      "unsupported_architecture",
      `Llama config.json: 'head_dim': expected an even size, since rotary positions rotate pairs, got ${headSize}`,
    );
  }
  const [queryWidth, keyWidth] = [heads * headSize, keyHeads * headSize];
  const activation = activationName(config.hidden_act, "hidden_act");
  const rope = config.rope_parameters ?? config.rope_scaling;
  const qwen = config.model_type === "qwen2";
  // Weights of both model types are tied only if the file says so: transformers writes the key whenever it is true.
  const tied = config.tie_word_embeddings ?? false;

  // Some tied checkpoints contain the output head as a second copy, which is ignored.
  if (tied) parameters.weights.takeIfPresent("lm_head.weight", [vocabulary, d]);

  const embedding = () => parameters.tensor("embed_tokens.weight", [vocabulary, d]);
  const norm = (name: string, x: Value) =>
    rmsNorm(g, x, { scale: parameters.tensor(`${name}.weight`, [d]), epsilon: config.rms_norm_eps });

  function selfAttention(name: string, x: Value, { bias, past, angles }: LayerContext): LayerOutput {
    if (!angles) throw new EpalmError("internal", "Llama layers need rotary angles");
    const parts = ["q_proj", "k_proj", "v_proj"].map((part) => `${name}.${part}`);
    const widths = [queryWidth, keyWidth, keyWidth];
    const hasBias = { bias: qwen || config.attention_bias };
    const joined = linear(g, x, parameters.joined(`${name}.qkv_proj`, parts, d, widths, hasBias));
    const [qk, values] = g.split(splitHeads(g, joined, headSize), [heads + keyHeads, keyHeads], 1) as [Value, Value];
    const [q, keys] = g.split(rotate(g, qk, angles), [heads, keyHeads], 1);
    const keysValues = { keys, values };
    const mixed = attention(g, q, keysValues, layout, bias, past);
    const out = parameters.linear(`${name}.o_proj`, queryWidth, d, { bias: config.attention_bias });
    return { hidden: linear(g, mixed, out), keysValues };
  }

  function feedForward(name: string, x: Value): Value {
    const intermediateSize = config.intermediate_size;
    const parts = [`${name}.gate_proj`, `${name}.up_proj`];
    const options = { bias: config.mlp_bias };
    const joined = linear(
      g,
      x,
      parameters.joined(`${name}.gate_up_proj`, parts, d, [intermediateSize, intermediateSize], options),
    );
    const [gate, up] = g.split(joined, [intermediateSize, intermediateSize], -1);
    const gated = g.multiply(activate(g, activation, gate), up);
    return linear(g, gated, parameters.linear(`${name}.down_proj`, intermediateSize, d, options));
  }

  return {
    architecture: config.model_type,
    shape: {
      layers: config.num_hidden_layers,
      width: d,
      embeddingWidth: d,
      attention: layout,
      vocabulary,
      positions: config.max_position_embeddings,
    },
    embed: (ids) => g.gather(embedding(), ids),
    enter: (embeddings) => embeddings,
    angles: (positions) =>
      rotaryAngles(g, g.maximum(positions, g.integer(0)), {
        headSize,
        theta: rope?.rope_theta ?? config.rope_theta ?? DEFAULT_ROPE_THETA,
        scaling: rotaryScaling(rope),
      }),
    layer(index, x, context) {
      const name = `layers.${index}`;
      const attended = selfAttention(`${name}.self_attn`, norm(`${name}.input_layernorm`, x), context);
      const middle = g.add(x, attended.hidden);
      const fed = feedForward(`${name}.mlp`, norm(`${name}.post_attention_layernorm`, middle));
      return { hidden: g.add(middle, fed), keysValues: attended.keysValues };
    },
    head(x) {
      const table = tied ? embedding() : parameters.tensor("lm_head.weight", [vocabulary, d]);
      return g.matmulTransposed(norm("norm", x), table);
    },
  };
}
