import { z } from "zod";
import type { Value } from "../../graph/ir.js";
import { activate, activationName } from "../../layers/activation.js";
import { attention, splitHeads } from "../../layers/attention.js";
import { linear } from "../../layers/linear.js";
import { layerNorm } from "../../layers/norm.js";
import { rotaryAngles, rotate } from "../../layers/rotary.js";
import type { DecoderBackbone, LayerContext, LayerOutput } from "../backbone.js";
import { count, headLayout, layerCount, parseConfig } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { tokenTables } from "./llama-block.js";
import { partialRopeSettings, positionLimit, rotaryScaling, rotatedSize } from "./rope-config.js";

/**
 * GPT-NeoX (Black et al. 2022, arXiv 2204.06745) and Pythia (Biderman et al. 2023, arXiv 2304.01373), following
 * `models/gpt_neox/modeling_gpt_neox.py` of transformers: attention and feed-forward in parallel, each after its own
 * norm, and rotary positions for the first elements of each head.
 */

const positive = z.number().positive();

export const gptNeoxConfig = z.object({
  model_type: z.literal("gpt_neox"),
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  vocab_size: count,
  max_position_embeddings: count.default(2048),
  hidden_act: z.string().default("gelu"),
  layer_norm_eps: positive.default(1e-5),
  attention_bias: z.boolean().default(true),
  use_parallel_residual: z.boolean().default(true),
  rotary_pct: positive.max(1).default(0.25),
  rotary_emb_base: positive.default(10_000),
  rope_scaling: partialRopeSettings.nullish(),
  rope_parameters: partialRopeSettings.nullish(),
  tie_word_embeddings: z.boolean().default(false),
});

/** The tables of tokens have the names of Llama's here; old checkpoints store masks and frequencies as tensors. */
export function gptNeoxName(name: string): string | undefined {
  const plain = name.replace(/^gpt_neox\./, "");
  if (/\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/.test(plain)) return undefined;
  return plain.replace(/^embed_in\./, "embed_tokens.").replace(/^embed_out\./, "lm_head.");
}

export function gptNeox(json: unknown, parameters: ParameterReader): DecoderBackbone {
  const config = parseConfig(gptNeoxConfig, json, "GPT-NeoX");
  const { g } = parameters;
  const { hidden_size: d, num_attention_heads: heads, vocab_size: vocabulary } = config;
  const layout = headLayout("GPT-NeoX", "num_attention_heads", { width: d, heads });
  const { headSize } = layout;
  const activation = activationName(config.hidden_act, "hidden_act");
  const rope = config.rope_scaling ?? config.rope_parameters;
  const size = rotatedSize("GPT-NeoX", headSize, rope?.partial_rotary_factor ?? config.rotary_pct);
  const scaling = rotaryScaling("GPT-NeoX", rope, config, size);
  const rotary = { size, theta: rope?.rope_theta ?? config.rotary_emb_base, scaling };

  const tables = tokenTables(parameters, [vocabulary, d], config.tie_word_embeddings);
  const norm = (name: string, x: Value) => layerNorm(g, x, parameters.layerNorm(name, d, config.layer_norm_eps));
  const dense = (name: string, x: Value, outputs: number, bias = true) =>
    linear(g, x, parameters.linear(name, Number(x.shape.at(-1)), outputs, { bias }));

  function selfAttention(name: string, x: Value, { bias, past, angles }: LayerContext): LayerOutput {
    // Each head has its query, key and value beside each other.
    const joined = splitHeads(g, dense(`${name}.query_key_value`, x, 3 * d, config.attention_bias), 3 * headSize);
    const [query, key, values] = g.split(joined, [headSize, headSize, headSize], -1);
    const placed = (part: Value) => (angles ? rotate(g, part, angles) : part);
    const keysValues = { keys: placed(key), values };
    const mixed = attention(g, placed(query), keysValues, layout, bias, past);
    return { hidden: dense(`${name}.dense`, mixed, d, config.attention_bias), keysValues };
  }

  function feedForward(name: string, x: Value): Value {
    const inner = dense(`${name}.dense_h_to_4h`, x, config.intermediate_size);
    return dense(`${name}.dense_4h_to_h`, activate(g, activation, inner), d);
  }

  return {
    architecture: config.model_type,
    shape: {
      layers: config.num_hidden_layers,
      width: d,
      embeddingWidth: d,
      attention: layout,
      vocabulary,
      positions: positionLimit(config, [scaling]),
    },
    embed: (ids) => g.gather(tables.embedding(), ids),
    enter: (embeddings) => embeddings,
    angles(positions) {
      const angles = rotaryAngles(g, g.maximum(positions, g.integer(0)), rotary);
      return new Array<typeof angles>(config.num_hidden_layers).fill(angles);
    },
    layer(index, x, context) {
      const name = `layers.${index}`;
      const attended = selfAttention(`${name}.attention`, norm(`${name}.input_layernorm`, x), context);
      const middle = g.add(x, attended.hidden);
      const entering = config.use_parallel_residual ? x : middle;
      const fed = feedForward(`${name}.mlp`, norm(`${name}.post_attention_layernorm`, entering));
      return { hidden: g.add(middle, fed), keysValues: attended.keysValues };
    },
    head: (x) => g.matmulTransposed(norm("final_layer_norm", x), tables.head()),
  };
}
