import { EpalmError } from "../../core/errors.js";
import type { Value } from "../../graph/ir.js";
import { type ActivationName, activate } from "../../layers/activation.js";
import { attention, type HeadLayout, type ScoreOptions, splitHeads } from "../../layers/attention.js";
import { linear } from "../../layers/linear.js";
import { rotate } from "../../layers/rotary.js";
import type { Shape } from "../../tensor/tensor.js";
import type { LayerContext, LayerOutput } from "../backbone.js";
import { type HeadSizes, headLayout } from "../config.js";
import type { ParameterReader } from "../parameters.js";

/** Attention and feed-forward of the Llama family, shared by the models that descend from it. */

/**
 * How a config divides its attention. @throws `unsupported_architecture` if the sizes are not divisible, or if heads
 * cannot be rotated
 */
export function rotaryLayout(architecture: string, sizes: HeadSizes): HeadLayout {
  const layout = headLayout(architecture, "num_attention_heads", sizes);
  if (layout.headSize % 2 === 0) return layout;
  throw new EpalmError(
    "unsupported_architecture",
    `${architecture} config.json: 'head_dim': expected an even size, since rotary positions rotate pairs, got ${layout.headSize}`,
  );
}

/** The table of embeddings [V, d] and that of the output head, which are the same in a tied model. */
export function tokenTables(parameters: ParameterReader, shape: Shape, tied: boolean) {
  // Some tied checkpoints contain the output head as a second copy, which is ignored.
  if (tied) parameters.weights.takeIfPresent("lm_head.weight", shape);
  const embedding = () => parameters.tensor("embed_tokens.weight", shape);
  return { embedding, head: tied ? embedding : () => parameters.tensor("lm_head.weight", shape) };
}

/** Linears with the same input and sizes of their outputs. */
interface Projections {
  readonly parts: readonly string[];
  readonly sizes: readonly number[];
  readonly bias: boolean;
  /** Whether the checkpoint stores them as one tensor (Phi-3). */
  readonly fused: boolean;
}

function projected(parameters: ParameterReader, name: string, x: Value, projections: Projections): Value {
  const { parts, sizes, bias, fused } = projections;
  const width = Number(x.shape.at(-1));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const parameter = fused
    ? parameters.linear(name, width, total, { bias })
    : parameters.joined(name, parts, width, sizes, { bias });
  return linear(parameters.g, x, parameter);
}

export interface AttentionOptions {
  readonly width: number;
  readonly layout: HeadLayout;
  /** Whether the checkpoint stores queries, keys and values as one tensor. Default: false. */
  readonly fused?: boolean | undefined;
  /** Biases of queries, keys and values, and of the output. */
  readonly biases: { readonly inputs: boolean; readonly output: boolean };
  /** Norms of queries and keys by head, with the name of their weight. Default: none. */
  readonly headNorm?: ((name: string, x: Value) => Value) | undefined;
  readonly scores?: ScoreOptions | undefined;
}

/** Grouped-query attention with rotary positions, or without any if the context has no angles. */
export function selfAttention(
  parameters: ParameterReader,
  name: string,
  x: Value,
  { bias, past, angles }: LayerContext,
  { width, layout, fused = false, biases, headNorm, scores }: AttentionOptions,
): LayerOutput {
  const { g } = parameters;
  const { heads, keyHeads, headSize } = layout;
  const parts = ["q_proj", "k_proj", "v_proj"].map((part) => `${name}.${part}`);
  const sizes = [heads * headSize, keyHeads * headSize, keyHeads * headSize];
  const joined = projected(parameters, `${name}.qkv_proj`, x, { parts, sizes, bias: biases.inputs, fused });
  const [qk, values] = g.split(splitHeads(g, joined, headSize), [heads + keyHeads, keyHeads], 1);
  const normed = (both: Value) => {
    if (!headNorm) return both;
    const [q, k] = g.split(both, [heads, keyHeads], 1);
    return g.concat([headNorm(`${name}.q_norm`, q), headNorm(`${name}.k_norm`, k)], 1);
  };
  const placed = angles ? rotate(g, normed(qk), angles) : normed(qk);
  const [q, keys] = g.split(placed, [heads, keyHeads], 1);
  const keysValues = { keys, values };
  const mixed = attention(g, q, keysValues, layout, bias, past, scores);
  const out = parameters.linear(`${name}.o_proj`, heads * headSize, width, { bias: biases.output });
  return { hidden: linear(g, mixed, out), keysValues };
}

export interface FeedForwardOptions {
  readonly width: number;
  readonly intermediateSize: number;
  readonly activation: ActivationName;
  readonly bias: boolean;
  /** Whether the checkpoint stores gate and up as one tensor. Default: false. */
  readonly fused?: boolean | undefined;
}

/** down(activation(gate(x)) * up(x)) */
export function gatedFeedForward(
  parameters: ParameterReader,
  name: string,
  x: Value,
  { width, intermediateSize, activation, bias, fused = false }: FeedForwardOptions,
): Value {
  const { g } = parameters;
  const parts = [`${name}.gate_proj`, `${name}.up_proj`];
  const sizes = [intermediateSize, intermediateSize] as const;
  const joined = projected(parameters, `${name}.gate_up_proj`, x, { parts, sizes, bias, fused });
  const [gate, up] = g.split(joined, sizes, -1);
  const gated = g.multiply(activate(g, activation, gate), up);
  return linear(g, gated, parameters.linear(`${name}.down_proj`, intermediateSize, width, { bias }));
}
