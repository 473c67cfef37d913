import type { Value } from "../graph/ir.js";
import { type ActivationName, activate } from "../layers/activation.js";
import { attention, type HeadLayout, splitHeads } from "../layers/attention.js";
import { type LinearParameters, linear } from "../layers/linear.js";
import { layerNorm } from "../layers/norm.js";
import type { ParameterReader } from "./parameters.js";

/** Sizes of a ViT block; those of an encoder and of a masked auto-encoder's decoder differ. */
export interface BlockShape {
  readonly width: number;
  readonly layout: HeadLayout;
  readonly inner: number;
  readonly activation: ActivationName;
  readonly epsilon: number;
  readonly qkvBias: boolean;
}

/**
 * One pre-norm block of a vision transformer, under timm's names: x [B, T, d] -> [B, T, d]. Every token sees every
 * other (Dosovitskiy et al. 2020, arXiv 2010.11929, equations 2 and 3).
 */
export function vitBlock(parameters: ParameterReader, name: string, x: Value, shape: BlockShape): Value {
  const { g } = parameters;
  const { width, layout, inner, activation, epsilon } = shape;
  const { heads, headSize } = layout;
  const norm = (part: string, value: Value) =>
    layerNorm(g, value, parameters.layerNorm(`${name}.${part}`, width, epsilon));
  const dense = (part: string, value: Value, outputs: number) =>
    linear(
      g,
      value,
      parameters.linear(`${name}.${part}`, Number(value.shape.at(-1)), outputs, { bias: true }),
    );
  const joined = linear(g, norm("norm1", x), queriesKeysValues(parameters, `${name}.attn`, shape));
  const [q, keys, values] = g.split(splitHeads(g, joined, headSize), [heads, heads, heads], 1) as [
    Value,
    Value,
    Value,
  ];
  const attended = g.add(x, dense("attn.proj", attention(g, q, { keys, values }, layout), width));
  const hidden = activate(g, activation, dense("mlp.fc1", norm("norm2", attended), inner));
  return g.add(attended, dense("mlp.fc2", hidden, width));
}

/** timm keeps queries, keys and values as one tensor, transformers as three. */
function queriesKeysValues(
  parameters: ParameterReader,
  name: string,
  { width, qkvBias }: BlockShape,
): LinearParameters {
  const options = { bias: qkvBias };
  if (parameters.weights.has(`${name}.qkv.weight`)) {
    return parameters.linear(`${name}.qkv`, width, 3 * width, options);
  }
  const parts = ["q", "k", "v"].map((part) => `${name}.${part}`);
  return parameters.joined(`${name}.qkv`, parts, width, [width, width, width], options);
}
