import { z } from "zod";
import type { Value } from "../../graph/ir.js";
import { activate, activationName } from "../../layers/activation.js";
import { attention, splitHeads } from "../../layers/attention.js";
import { linear } from "../../layers/linear.js";
import { layerNorm } from "../../layers/norm.js";
import type { DecoderBackbone, LayerContext, LayerOutput } from "../backbone.js";
import { count, headLayout, layerCount, parseConfig } from "../config.js";
import type { ParameterReader } from "../parameters.js";

/**
 * GPT-2 (Radford et al. 2019), following `models/gpt2/modeling_gpt2.py` of transformers: learned positions, pre-norm,
 * tanh-GELU, and weights that are stored as [in, out] ("Conv1D").
 */

export const gpt2Config = z.object({
  model_type: z.literal("gpt2"),
  n_embd: count,
  n_layer: layerCount,
  n_head: count,
  n_inner: count.nullish(),
  n_positions: count,
  vocab_size: count,
  activation_function: z.string().default("gelu_new"),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  scale_attn_weights: z.literal(true).default(true),
  scale_attn_by_inverse_layer_idx: z.literal(false).default(false),
  tie_word_embeddings: z.literal(true).default(true),
});

/** Some checkpoints prefix every name with `transformer.` and store the causal masks as tensors. */
export function gpt2Name(name: string): string | undefined {
  const plain = name.replace(/^transformer\./, "");
  return plain === "lm_head.weight" || /\.attn\.(bias|masked_bias)$/.test(plain) ? undefined : plain;
}

export function gpt2(json: unknown, parameters: ParameterReader): DecoderBackbone {
  const config = parseConfig(gpt2Config, json, "GPT-2");
  const { g } = parameters;
  const { n_embd: d, n_head: heads, vocab_size: vocabulary } = config;
  const layout = headLayout("GPT-2", "n_head", { width: d, heads });
  const activation = activationName(config.activation_function, "activation_function");

  const embedding = () => parameters.tensor("wte.weight", [vocabulary, d]);
  const norm = (name: string, x: Value) => layerNorm(g, x, parameters.layerNorm(name, d, config.layer_norm_epsilon));
  const conv1d = (name: string, x: Value, outputs: number) =>
    linear(g, x, {
      weight: parameters.tensor(`${name}.weight`, [Number(x.shape.at(-1)), outputs]),
      bias: parameters.tensor(`${name}.bias`, [outputs]),
    });

  function selfAttention(name: string, x: Value, { bias, past }: LayerContext): LayerOutput {
    const joined = splitHeads(g, conv1d(`${name}.c_attn`, x, 3 * d), layout.headSize);
    const [q, keys, values] = g.split(joined, [heads, heads, heads], 1);
    const keysValues = { keys, values };
    const mixed = attention(g, q, keysValues, layout, bias, past);
    return { hidden: conv1d(`${name}.c_proj`, mixed, d), keysValues };
  }

  return {
    architecture: "gpt2",
    shape: {
      layers: config.n_layer,
      width: d,
      embeddingWidth: d,
      attention: layout,
      vocabulary,
      positions: config.n_positions,
    },
    embed: (ids) => g.gather(embedding(), ids),
    enter(embeddings, positions, hasPosition) {
      const table = parameters.tensor("wpe.weight", [config.n_positions, d]);
      const position = g.gather(table, g.maximum(positions, g.integer(0)));
      return g.add(embeddings, g.where(g.unsqueeze(hasPosition, 2), position, g.number(0)));
    },
    layer(index, x, context) {
      const name = `h.${index}`;
      const attended = selfAttention(`${name}.attn`, norm(`${name}.ln_1`, x), context);
      const middle = g.add(x, attended.hidden);
      const inner = conv1d(`${name}.mlp.c_fc`, norm(`${name}.ln_2`, middle), config.n_inner ?? 4 * d);
      const fed = conv1d(`${name}.mlp.c_proj`, activate(g, activation, inner), d);
      return { hidden: g.add(middle, fed), keysValues: attended.keysValues };
    },
    head: (x) => g.matmulTransposed(norm("ln_f", x), embedding()),
  };
}
