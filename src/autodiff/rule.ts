import type { GraphBuilder } from "../graph/builder.js";
import type { Node, Value } from "../graph/ir.js";

/** The node that a rule differentiates, and its context. */
export interface Backward {
  readonly g: GraphBuilder;
  readonly node: Node;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /** For each output, the gradient of the loss with respect to it; undefined if the loss does not depend on it. */
  readonly upstream: readonly (Value | undefined)[];
  /** For each input, whether its gradient is needed. Other gradients need not be computed. */
  readonly wants: readonly boolean[];
  /** Adds an output that the operator has and that the node has omitted so far. */
  extraOutput(index: number): Value;
}

/** Gradients of a node's inputs, in order. A gradient may be larger than its input: the walker undoes broadcasting. */
export type Rule = (backward: Backward) => readonly (Value | undefined)[];
