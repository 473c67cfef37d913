import { z } from "zod";
import type { Value } from "../../graph/ir.js";
import { activate } from "../../layers/activation.js";
import { attention, splitHeads } from "../../layers/attention.js";
import { linear } from "../../layers/linear.js";
import { layerNorm } from "../../layers/norm.js";
import type { DecoderBackbone, LayerContext, LayerOutput } from "../backbone.js";
import { count, headLayout, layerCount, parseConfig } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { tokenTables } from "./llama-block.js";

/**
 * BLOOM (BigScience 2022, arXiv 2211.05100), following `models/bloom/modeling_bloom.py` of transformers: a norm of the
 * embeddings, pre-norm, tanh-GELU, and distances in place of positions (ALiBi, Press et al. 2021, arXiv 2108.12409).
 *
 * transformers derives the positions of keys from the attention mask of a sequence. They are those of the tokens that
 * exist at a layer: perceptual tokens are the first ones where they exist and shift the others, which changes no
 * distance between these. Soft tokens pass through the norm of the embeddings, as `inputs_embeds` do there.
 */

const bloomKeys = z.object({
  model_type: z.literal("bloom"),
  hidden_size: count,
  n_layer: layerCount,
  n_head: count,
  seq_length: count.default(2048),
  vocab_size: count,
  layer_norm_epsilon: z.number().positive().default(1e-5),
  apply_residual_connection_post_layernorm: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(true),
});

/** Published configs have other names for some sizes, which transformers accepts too. */
const olderNames = { n_embed: "hidden_size", num_attention_heads: "n_head", num_hidden_layers: "n_layer" };

export const bloomConfig = z.preprocess((json) => {
  const keys = z.record(z.string(), z.unknown()).safeParse(json).data;
  if (!keys) return json;
  const renamed = Object.entries(olderNames).flatMap(([older, name]) => (older in keys ? [[name, keys[older]]] : []));
  return { ...Object.fromEntries(renamed), ...keys };
}, bloomKeys);

/** The table of tokens has Llama's name here. */
export function bloomName(name: string): string {
  return name.replace(/^transformer\./, "").replace(/^word_embeddings\./, "embed_tokens.");
}

/**
 * The slopes of ALiBi: 2^(-8 / n), 2^(-16 / n), …, for the largest power of two n that is not above the number of
 * heads, and for further heads every other slope of 2n heads.
 */
export function alibiSlopes(heads: number): number[] {
  const power = 2 ** Math.floor(Math.log2(heads));
  return Array.from({ length: heads }, (_, i) =>
    i < power ? 2 ** ((-8 * (i + 1)) / power) : 2 ** ((-4 * (2 * (i - power) + 1)) / power),
  );
}

export function bloom(json: unknown, parameters: ParameterReader): DecoderBackbone {
  const config = parseConfig(bloomConfig, json, "BLOOM");
  const { g } = parameters;
  const { hidden_size: d, n_head: heads, vocab_size: vocabulary } = config;
  const layout = headLayout("BLOOM", "n_head", { width: d, heads });
  const { headSize } = layout;

  const tables = tokenTables(parameters, [vocabulary, d], config.tie_word_embeddings);
  const norm = (name: string, x: Value) => layerNorm(g, x, parameters.layerNorm(name, d, config.layer_norm_epsilon));
  const dense = (name: string, x: Value, outputs: number) =>
    linear(g, x, parameters.linear(name, Number(x.shape.at(-1)), outputs, { bias: true }));

  function selfAttention(name: string, x: Value, { bias, past }: LayerContext): LayerOutput {
    // Each head has its query, key and value beside each other.
    const joined = splitHeads(g, dense(`${name}.query_key_value`, x, 3 * d), 3 * headSize);
    const [query, keys, values] = g.split(joined, [headSize, headSize, headSize], -1);
    const mixed = attention(g, query, { keys, values }, layout, bias, past);
    return { hidden: dense(`${name}.dense`, mixed, d), keysValues: { keys, values } };
  }

  function feedForward(name: string, x: Value): Value {
    const inner = dense(`${name}.dense_h_to_4h`, x, 4 * d);
    return dense(`${name}.dense_4h_to_h`, activate(g, "gelu_new", inner), d);
  }

  return {
    architecture: config.model_type,
    shape: {
      layers: config.n_layer,
      width: d,
      embeddingWidth: d,
      attention: layout,
      vocabulary,
      positions: config.seq_length,
    },
    slopes: alibiSlopes(heads),
    embed: (ids) => g.gather(tables.embedding(), ids),
    enter: (embeddings) => norm("word_embeddings_layernorm", embeddings),
    layer(index, x, context) {
      const name = `h.${index}`;
      const residual = (before: Value, normed: Value) =>
        config.apply_residual_connection_post_layernorm ? normed : before;
      const entering = norm(`${name}.input_layernorm`, x);
      const attended = selfAttention(`${name}.self_attention`, entering, context);
      const middle = g.add(residual(x, entering), attended.hidden);
      const normed = norm(`${name}.post_attention_layernorm`, middle);
      const fed = feedForward(`${name}.mlp`, normed);
      return { hidden: g.add(residual(middle, normed), fed), keysValues: attended.keysValues };
    },
    head: (x) => g.matmulTransposed(norm("ln_f", x), tables.head()),
  };
}
