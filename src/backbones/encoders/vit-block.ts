import type { GraphBuilder } from "../../graph/builder.js";
import type { Value } from "../../graph/ir.js";
import { type ActivationName, activate } from "../../layers/activation.js";
import { attention, type HeadLayout, splitHeads } from "../../layers/attention.js";
import { type LinearParameters, linear } from "../../layers/linear.js";
import { layerNorm } from "../../layers/norm.js";
import type { ParameterReader } from "../parameters.js";

/** Sizes of a ViT block; an encoder and the decoder of a masked autoencoder have different ones. */
export interface BlockShape {
  readonly width: number;
  readonly layout: HeadLayout;
  readonly intermediateSize: number;
  readonly activation: ActivationName;
  readonly epsilon: number;
  readonly qkvBias: boolean;
  /** Default: `qkvBias`. Whisper's keys have none. */
  readonly keyBias?: boolean | undefined;
  /** Bias of the linear after the attention. Default: true. */
  readonly projBias?: boolean;
  /** Biases of the feed-forward's linears. Default: true. */
  readonly mlpBias?: boolean;
  /** The first linear has two halves: the activation of the first one multiplies the second. Default: false. */
  readonly gated?: boolean;
  /**
   * Norms of the heads before the linear after the attention, and of the activations before the last linear of the
   * feed-forward (Wang et al. 2022, arXiv 2210.06423). Default: none.
   */
  readonly innerNorms?: { readonly attention: boolean; readonly mlp: boolean };
  /** Each residual is scaled per channel (Touvron et al. 2021, arXiv 2103.17239). Default: false. */
  readonly layerScale?: boolean;
}

/** What an attention does differently; the defaults are those of a ViT. */
export interface AttentionVariant {
  /** The linear that computes queries, keys and values. Default: with a bias everywhere or nowhere. */
  readonly queriesKeysValues?: LinearParameters;
  /** Applied to the queries and to the keys [B, heads, T, headSize]. */
  readonly rotate?: (x: Value) => Value;
}

/**
 * A pre-norm block of a vision transformer, with timm's names: x [B, T, d] -> [B, T, d]. Every token attends to all
 * tokens (Dosovitskiy et al. 2020, arXiv 2010.11929, equations 2 and 3).
 */
export function vitBlock(
  parameters: ParameterReader,
  name: string,
  x: Value,
  shape: BlockShape,
  variant: AttentionVariant = {},
): Value {
  const { g } = parameters;
  const scaled = (scale: string, residual: Value) =>
    shape.layerScale ? g.multiply(residual, parameters.tensor(`${name}.${scale}.gamma`, [shape.width])) : residual;
  const parts = { norm: "norm1", attention: "attn" };
  const attended = g.add(x, scaled("ls1", normedAttention(parameters, name, parts, x, shape, variant)));
  return g.add(attended, scaled("ls2", feedForward(parameters, name, attended, shape)));
}

/** A norm of a block and the attention after it: x [B, T, d] -> [B, T, d], without the residual. */
export function normedAttention(
  parameters: ParameterReader,
  name: string,
  parts: { readonly norm: string; readonly attention: string },
  x: Value,
  shape: BlockShape,
  { queriesKeysValues: linears, rotate = (heads: Value) => heads }: AttentionVariant = {},
): Value {
  const { g } = parameters;
  const { width, layout, epsilon, projBias = true, innerNorms } = shape;
  const { heads: count, headSize } = layout;
  const attentionName = `${name}.${parts.attention}`;
  const normed = layerNorm(g, x, parameters.layerNorm(`${name}.${parts.norm}`, width, epsilon));
  const joined = linear(g, normed, linears ?? queriesKeysValues(parameters, attentionName, shape));
  const [q, keys, values] = g.split(splitHeads(g, joined, headSize), [count, count, count], 1) as [Value, Value, Value];
  const heads = attention(g, rotate(q), { keys: rotate(keys), values }, layout);
  const mixed = innerNorms?.attention
    ? layerNorm(g, heads, parameters.layerNorm(`${attentionName}.norm`, width, epsilon))
    : heads;
  return linear(g, mixed, parameters.linear(`${attentionName}.proj`, width, width, { bias: projBias }));
}

/** A block's second norm and the two linears after it: x [B, T, d] -> [B, T, d], without the residual. */
export function feedForward(parameters: ParameterReader, name: string, x: Value, shape: BlockShape): Value {
  const { g } = parameters;
  const { width, intermediateSize, epsilon, mlpBias: bias = true } = shape;
  const normed = layerNorm(g, x, parameters.layerNorm(`${name}.norm2`, width, epsilon));
  const first = linear(g, normed, firstLinear(parameters, `${name}.mlp`, shape, { bias }));
  const active = shape.gated ? gated(g, first, shape) : activate(g, shape.activation, first);
  const norm = () => parameters.layerNorm(`${name}.mlp.norm`, intermediateSize, epsilon);
  const hidden = shape.innerNorms?.mlp ? layerNorm(g, active, norm()) : active;
  return linear(g, hidden, parameters.linear(`${name}.mlp.fc2`, intermediateSize, width, { bias }));
}

/**
 * Checkpoints store the two halves of a gated linear as one tensor or as two, and may name a plain one like the second
 * half (DINOv3 in transformers).
 */
function firstLinear(
  parameters: ParameterReader,
  name: string,
  { width, intermediateSize: size, gated: isGated = false }: BlockShape,
  options: { bias: boolean },
): LinearParameters {
  const isNamed = (linear: string) => parameters.weights.has(`${name}.${linear}.weight`);
  if (!isGated) return parameters.linear(`${name}.${isNamed("up") ? "up" : "fc1"}`, width, size, options);
  if (isNamed("fc1")) return parameters.linear(`${name}.fc1`, width, 2 * size, options);
  return parameters.joined(`${name}.fc1`, [`${name}.gate`, `${name}.up`], width, [size, size], options);
}

/** x [B, T, 2 * size] -> [B, T, size] (Shazeer 2020, arXiv 2002.05202) */
function gated(g: GraphBuilder, x: Value, { activation, intermediateSize: size }: BlockShape): Value {
  const [gate, up] = g.split(x, [size, size], -1);
  return g.multiply(activate(g, activation, gate), up);
}

/** timm stores queries, keys and values as one tensor, transformers as three; timm's EVA has biases of their own. */
function queriesKeysValues(
  parameters: ParameterReader,
  name: string,
  { width, qkvBias, keyBias = qkvBias }: BlockShape,
): LinearParameters {
  const options = { bias: qkvBias, unbiased: keyBias ? [] : [`${name}.k`] };
  const parts = ["q", "k", "v"].map((part) => `${name}.${part}`);
  if (parameters.weights.has(`${name}.qkv.weight`)) {
    if (!parameters.weights.has(`${name}.q.bias`)) return parameters.linear(`${name}.qkv`, width, 3 * width, options);
    const { weight } = parameters.linear(`${name}.qkv`, width, 3 * width, { bias: false });
    return { weight, bias: parameters.joinedBiases(`${name}.qkv`, parts, [width, width, width], options) };
  }
  return parameters.joined(`${name}.qkv`, parts, width, [width, width, width], options);
}
