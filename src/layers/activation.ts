import { unexpected } from "../core/errors.js";
import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";

/** Activation functions by their names in `config.json` files. */
const activations = {
  relu: (g: GraphBuilder, x: Value) => g.relu(x),
  gelu: (g: GraphBuilder, x: Value) => g.gelu(x, "none"),
  gelu_new: (g: GraphBuilder, x: Value) => g.gelu(x, "tanh"),
  gelu_pytorch_tanh: (g: GraphBuilder, x: Value) => g.gelu(x, "tanh"),
  /** The approximation of GPT-1 (Hendrycks and Gimpel 2016), which CLIP uses. */
  quick_gelu: (g: GraphBuilder, x: Value) => g.multiply(x, g.sigmoid(g.multiply(x, g.number(1.702)))),
  silu: (g: GraphBuilder, x: Value) => g.multiply(x, g.sigmoid(x)),
} as const;

export type ActivationName = keyof typeof activations;

/** All names of the table, for schemas. */
export const activationNames = Object.keys(activations) as [ActivationName, ...ActivationName[]];

/** @param where the config key of the name @throws `unsupported_architecture` for a name that is not in the table */
export function activationName(name: string, where: string): ActivationName {
  if (Object.hasOwn(activations, name)) return name as ActivationName;
  const known = Object.keys(activations).join(", ");
  throw unexpected("unsupported_architecture", where, `one of ${known}`, `'${name}'`);
}

export function activate(g: GraphBuilder, name: ActivationName, x: Value): Value {
  return activations[name](g, x);
}
