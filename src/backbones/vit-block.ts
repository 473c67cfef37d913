import type { Value } from "../graph/ir.js";
import { type ActivationName, activate } from "../layers/activation.js";
import { attention, type HeadLayout, splitHeads } from "../layers/attention.js";
import { type LinearParameters, linear } from "../layers/linear.js";
import { layerNorm } from "../layers/norm.js";
import type { ParameterReader } from "./parameters.js";

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
}

/**
 * A pre-norm block of a vision transformer, with timm's names: x [B, T, d] -> [B, T, d]. Every token attends to all
 * tokens (Dosovitskiy et al. 2020, arXiv 2010.11929, equations 2 and 3).
 */
export function vitBlock(parameters: ParameterReader, name: string, x: Value, shape: BlockShape): Value {
  const { g } = parameters;
  const attended = g.add(x, normedAttention(parameters, name, { norm: "norm1", attention: "attn" }, x, shape));
  return g.add(attended, feedForward(parameters, name, attended, shape));
}

/** A norm of a block and the attention after it: x [B, T, d] -> [B, T, d], without the residual. */
export function normedAttention(
  parameters: ParameterReader,
  name: string,
  parts: { readonly norm: string; readonly attention: string },
  x: Value,
  shape: BlockShape,
): Value {
  const { g } = parameters;
  const { width, layout, epsilon } = shape;
  const { heads, headSize } = layout;
  const attentionName = `${name}.${parts.attention}`;
  const normed = layerNorm(g, x, parameters.layerNorm(`${name}.${parts.norm}`, width, epsilon));
  const joined = linear(g, normed, queriesKeysValues(parameters, attentionName, shape));
  const [q, keys, values] = g.split(splitHeads(g, joined, headSize), [heads, heads, heads], 1) as [Value, Value, Value];
  const mixed = attention(g, q, { keys, values }, layout);
  return linear(g, mixed, parameters.linear(`${attentionName}.proj`, width, width, { bias: true }));
}

/** A block's second norm and the two linears after it: x [B, T, d] -> [B, T, d], without the residual. */
export function feedForward(parameters: ParameterReader, name: string, x: Value, shape: BlockShape): Value {
  const { g } = parameters;
  const { width, intermediateSize, activation, epsilon } = shape;
  const normed = layerNorm(g, x, parameters.layerNorm(`${name}.norm2`, width, epsilon));
  const first = linear(g, normed, parameters.linear(`${name}.mlp.fc1`, width, intermediateSize, { bias: true }));
  const hidden = activate(g, activation, first);
  return linear(g, hidden, parameters.linear(`${name}.mlp.fc2`, intermediateSize, width, { bias: true }));
}

/** timm stores queries, keys and values as one tensor, transformers as three. */
function queriesKeysValues(
  parameters: ParameterReader,
  name: string,
  { width, qkvBias, keyBias = qkvBias }: BlockShape,
): LinearParameters {
  const options = { bias: qkvBias, unbiased: keyBias ? [] : [`${name}.k`] };
  if (parameters.weights.has(`${name}.qkv.weight`)) {
    return parameters.linear(`${name}.qkv`, width, 3 * width, options);
  }
  const parts = ["q", "k", "v"].map((part) => `${name}.${part}`);
  return parameters.joined(`${name}.qkv`, parts, width, [width, width, width], options);
}
