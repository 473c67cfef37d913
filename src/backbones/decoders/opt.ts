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
 * OPT (Zhang et al. 2022, arXiv 2205.01068), following `models/opt/modeling_opt.py` of transformers: learned
 * positions, ReLU and biases in all layers; pre-norm, or post-norm with projections around the layers (350m).
 */

/** The table of position embeddings begins with this many unused rows. */
const POSITION_OFFSET = 2;

/** torch's default; the config of OPT does not specify it. */
const LAYER_NORM_EPSILON = 1e-5;

export const optConfig = z.object({
  model_type: z.literal("opt"),
  hidden_size: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  ffn_dim: count,
  vocab_size: count,
  max_position_embeddings: count,
  word_embed_proj_dim: count.optional(),
  do_layer_norm_before: z.boolean().default(true),
  activation_function: z.string().default("relu"),
  enable_bias: z.literal(true).default(true),
  layer_norm_elementwise_affine: z.literal(true).default(true),
  _remove_final_layer_norm: z.boolean().default(false),
  tie_word_embeddings: z.literal(true).default(true),
});

/** Checkpoints name the decoder with or without `model.`; a tied output head is a second copy of the embedding. */
export function optName(name: string): string | undefined {
  return name === "lm_head.weight" ? undefined : name.replace(/^(model\.)?decoder\./, "");
}

export function opt(json: unknown, parameters: ParameterReader): DecoderBackbone {
  const config = parseConfig(optConfig, json, "OPT");
  const { g } = parameters;
  const { hidden_size: d, num_attention_heads: heads, vocab_size: vocabulary } = config;
  const embeddingWidth = config.word_embed_proj_dim ?? d;
  const layout = headLayout("OPT", "num_attention_heads", { width: d, heads });
  const preNorm = config.do_layer_norm_before;
  const projected = embeddingWidth !== d;
  const activation = activationName(config.activation_function, "activation_function");
  const positionRows = config.max_position_embeddings + POSITION_OFFSET;

  const embedding = () => parameters.tensor("embed_tokens.weight", [vocabulary, embeddingWidth]);
  const norm = (name: string, x: Value) => layerNorm(g, x, parameters.layerNorm(name, d, LAYER_NORM_EPSILON));
  const dense = (name: string, x: Value, outputs: number) =>
    linear(g, x, parameters.linear(name, Number(x.shape.at(-1)), outputs, { bias: true }));

  function selfAttention(name: string, x: Value, { bias, past }: LayerContext): LayerOutput {
    const parts = ["q_proj", "k_proj", "v_proj"].map((part) => `${name}.${part}`);
    const joined = linear(g, x, parameters.joined(`${name}.qkv_proj`, parts, d, [d, d, d], { bias: true }));
    const [q, keys, values] = g.split(splitHeads(g, joined, layout.headSize), [heads, heads, heads], 1) as [
      Value,
      Value,
      Value,
    ];
    const keysValues = { keys, values };
    const mixed = attention(g, q, keysValues, layout, bias, past);
    return { hidden: dense(`${name}.out_proj`, mixed, d), keysValues };
  }

  function feedForward(name: string, x: Value): Value {
    return dense(`${name}.fc2`, activate(g, activation, dense(`${name}.fc1`, x, config.ffn_dim)), d);
  }

  return {
    architecture: "opt",
    shape: {
      layers: config.num_hidden_layers,
      width: d,
      embeddingWidth,
      attention: layout,
      vocabulary,
      positions: config.max_position_embeddings,
    },
    embed: (ids) => g.gather(embedding(), ids),
    enter(embeddings, positions, hasPosition) {
      const entering = projected
        ? linear(g, embeddings, parameters.linear("project_in", embeddingWidth, d, { bias: false }))
        : embeddings;
      const table = parameters.tensor("embed_positions.weight", [positionRows, d]);
      const position = g.gather(table, g.add(positions, g.integer(POSITION_OFFSET)));
      return g.add(entering, g.where(g.unsqueeze(hasPosition, 2), position, g.number(0)));
    },
    layer(index, x, context) {
      const name = `layers.${index}`;
      const attended = selfAttention(
        `${name}.self_attn`,
        preNorm ? norm(`${name}.self_attn_layer_norm`, x) : x,
        context,
      );
      const sum = g.add(x, attended.hidden);
      const middle = preNorm ? sum : norm(`${name}.self_attn_layer_norm`, sum);
      const fed = g.add(middle, feedForward(name, preNorm ? norm(`${name}.final_layer_norm`, middle) : middle));
      return {
        hidden: preNorm ? fed : norm(`${name}.final_layer_norm`, fed),
        keysValues: attended.keysValues,
      };
    },
    head(x) {
      const normed = preNorm && !config._remove_final_layer_norm ? norm("final_layer_norm", x) : x;
      const projectedOut = projected
        ? linear(g, normed, parameters.linear("project_out", d, embeddingWidth, { bias: false }))
        : normed;
      return g.matmulTransposed(projectedOut, embedding());
    },
  };
}
