import { z } from "zod";
import type { Value } from "../../graph/ir.js";
import { activate, activationName } from "../../layers/activation.js";
import { linear } from "../../layers/linear.js";
import { layerNorm } from "../../layers/norm.js";
import { rotaryAngles } from "../../layers/rotary.js";
import type { DecoderBackbone } from "../backbone.js";
import { count, headLayout, layerCount, parseConfig } from "../config.js";
import type { ParameterReader } from "../parameters.js";
import { selfAttention, tokenTables } from "./llama-block.js";
import { checkRotatedSize } from "./rope-config.js";

/**
 * GPT-J (Wang and Komatsuzaki 2021), following `models/gptj/modeling_gptj.py` of transformers: attention and
 * feed-forward in parallel, after the same norm; rotary positions for interleaved pairs of the first elements of each
 * head; and an output head with a bias.
 */

export const gptjConfig = z.object({
  model_type: z.literal("gptj"),
  n_embd: count,
  n_layer: layerCount,
  n_head: count,
  n_inner: count.nullish(),
  n_positions: count.default(2048),
  rotary_dim: count.default(64),
  vocab_size: count,
  activation_function: z.string().default("gelu_new"),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  tie_word_embeddings: z.boolean().default(false),
});

/** The table of tokens and the attention have Llama's names here; old checkpoints store masks as tensors. */
export function gptjName(name: string): string | undefined {
  const plain = name.replace(/^transformer\./, "");
  if (/\.attn\.(bias|masked_bias|embed_positions)$/.test(plain)) return undefined;
  return plain.replace(/^wte\./, "embed_tokens.").replace(/\.attn\.out_proj\./, ".attn.o_proj.");
}

export function gptj(json: unknown, parameters: ParameterReader): DecoderBackbone {
  const config = parseConfig(gptjConfig, json, "GPT-J");
  const { g } = parameters;
  const { n_embd: d, n_head: heads, n_layer: layers, vocab_size: vocabulary } = config;
  const layout = headLayout("GPT-J", "n_head", { width: d, heads });
  const activation = activationName(config.activation_function, "activation_function");
  const rotary = {
    size: checkRotatedSize("GPT-J", "rotary_dim", layout.headSize, config.rotary_dim),
    interleaved: true,
    theta: 10_000,
    scaling: { kind: "none" },
  } as const;

  const tables = tokenTables(parameters, [vocabulary, d], config.tie_word_embeddings);
  const norm = (name: string, x: Value) => layerNorm(g, x, parameters.layerNorm(name, d, config.layer_norm_epsilon));
  const dense = (name: string, x: Value, outputs: number) =>
    linear(g, x, parameters.linear(name, Number(x.shape.at(-1)), outputs, { bias: true }));
  const attentionOptions = { width: d, layout, biases: { inputs: false, output: false } };

  return {
    architecture: config.model_type,
    shape: { layers, width: d, embeddingWidth: d, attention: layout, vocabulary, positions: config.n_positions },
    embed: (ids) => g.gather(tables.embedding(), ids),
    enter: (embeddings) => embeddings,
    angles(positions) {
      const angles = rotaryAngles(g, g.maximum(positions, g.integer(0)), rotary);
      return new Array<typeof angles>(layers).fill(angles);
    },
    layer(index, x, context) {
      const name = `h.${index}`;
      const entering = norm(`${name}.ln_1`, x);
      const attended = selfAttention(parameters, `${name}.attn`, entering, context, attentionOptions);
      const inner = dense(`${name}.mlp.fc_in`, entering, config.n_inner ?? 4 * d);
      const fed = dense(`${name}.mlp.fc_out`, activate(g, activation, inner), d);
      return { hidden: g.add(x, g.add(attended.hidden, fed)), keysValues: attended.keysValues };
    },
    head(x) {
      const scores = g.matmulTransposed(norm("ln_f", x), tables.head());
      return g.add(scores, parameters.tensor("lm_head.bias", [vocabulary]));
    },
  };
}
