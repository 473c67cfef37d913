import type { GraphBuilder } from "../graph/builder.js";
import type { Node, Value } from "../graph/ir.js";

/** What a rule sees of the node that it differentiates. */
export interface Backward {
  readonly g: GraphBuilder;
  readonly node: Node;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /** Per output, the gradient of the loss with respect to it; undefined where the loss does not depend on it. */
  readonly upstream: readonly (Value | undefined)[];
  /** Per input, whether its gradient is asked for. What is not asked for need not be computed. */
  readonly wants: readonly boolean[];
  /** An output that the operator has, but that the node left out so far. */
  extraOutput(index: number): Value;
}

/** Gradients of a node's inputs, in order. They may be broader than an input was: the walker undoes broadcasting. */
export type Rule = (backward: Backward) => readonly (Value | undefined)[];
