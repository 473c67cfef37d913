import { EpalmError, unexpected } from "../core/errors.js";
import { GraphBuilder } from "../graph/builder.js";
import type { Graph, Node, Value } from "../graph/ir.js";
import { formatShape, sameShape } from "../tensor/tensor.js";
import { rules } from "./rules.js";

/**
 * Reverse-mode differentiation: extends a graph that has a scalar loss with outputs for the gradients of the loss
 * with respect to some of its values. The result is plain data like any other graph and passes the same checker.
 */

/** The name of a gradient output: `gradient of NAME`. */
export function gradientName(name: string): string {
  return `gradient of ${name}`;
}

/**
 * Adds outputs `gradient of NAME` for each of `names`, with the shape of NAME. Only nodes between those values and
 * the loss are differentiated, so frozen weights have no gradient and cost nothing.
 *
 * @param loss a float32 value without axes
 * @throws `missing_gradient`, naming operator and node, if there is no rule; `invalid_graph` if the loss does not
 * depend on a value
 */
export function gradient(graph: Graph, loss: string, names: readonly string[]): Graph {
  return new Walker(graph, loss, names).run();
}

class Walker {
  readonly #graph: Graph;
  readonly #g: GraphBuilder;
  readonly #loss: string;
  readonly #names: readonly string[];
  readonly #gradients = new Map<string, Value>();

  constructor(graph: Graph, loss: string, names: readonly string[]) {
    this.#graph = graph;
    this.#loss = loss;
    this.#names = names;
    this.#g = GraphBuilder.extending(graph, "gradient");
  }

  run(): Graph {
    const loss = this.#g.value(this.#loss);
    if (loss.type !== "float32" || loss.shape.length !== 0) {
      throw unexpected("invalid_graph", `loss '${loss.name}'`, "float32 []", `${loss.type} ${formatShape(loss.shape)}`);
    }
    const depends = dependents(this.#graph, this.#names);
    this.#gradients.set(loss.name, this.#g.number(1));
    for (const node of this.#graph.nodes.toReversed()) {
      const carries = node.inputs.some((name) => depends.has(name));
      if (carries && node.outputs.some((name) => this.#gradients.has(name))) this.#visit(node, depends);
    }
    for (const name of this.#names) {
      const found = this.#gradients.get(name);
      if (!found) throw new EpalmError("invalid_graph", `the loss '${this.#loss}' does not depend on '${name}'`);
      this.#g.output(gradientName(name), found);
    }
    return this.#g.finish();
  }

  #visit(node: Node, depends: ReadonlySet<string>): void {
    const operator = node.domain === "" ? node.op : `${node.domain}.${node.op}`;
    const rule = rules[operator];
    if (!rule)
      throw new EpalmError("missing_gradient", `operator ${operator} of node '${node.name}' has no gradient rule`);
    const inputs = node.inputs.map((name) => this.#g.value(name));
    const found = rule({
      g: this.#g,
      node,
      inputs,
      outputs: node.outputs.map((name) => this.#g.value(name)),
      upstream: node.outputs.map((name) => this.#gradients.get(name)),
      wants: node.inputs.map((name) => depends.has(name)),
      extraOutput: (index) => this.#g.extendOutputs(node.name, index),
    });
    inputs.forEach((input, index) => {
      const part = found[index];
      if (part && depends.has(input.name)) this.#accumulate(input, part);
    });
  }

  #accumulate(input: Value, part: Value): void {
    const own = unbroadcast(this.#g, part, input);
    const sum = this.#gradients.get(input.name);
    this.#gradients.set(input.name, sum ? this.#g.add(sum, own) : own);
  }
}

/** All values that depend on any of `names`, including `names`. */
function dependents(graph: Graph, names: readonly string[]): ReadonlySet<string> {
  const found = new Set(names);
  for (const node of graph.nodes) {
    if (node.inputs.some((name) => found.has(name))) for (const output of node.outputs) found.add(output);
  }
  return found;
}

/** Sums a gradient over the axes along which broadcasting repeated its value. */
function unbroadcast(g: GraphBuilder, gradient: Value, value: Value): Value {
  if (sameShape(gradient.shape, value.shape)) return gradient;
  const extra = Math.max(0, gradient.shape.length - value.shape.length);
  const leading = Array.from({ length: extra }, (_, axis) => axis);
  const inner = leading.length > 0 ? g.sum(gradient, leading, false) : gradient;
  const repeated = value.shape.flatMap((dim, axis) => (dim === 1 && inner.shape[axis] !== 1 ? [axis] : []));
  const sum = repeated.length > 0 ? g.sum(inner, repeated, true) : inner;
  if (!sameShape(sum.shape, value.shape)) {
    throw unexpected(
      "invalid_graph",
      `gradient of '${value.name}'`,
      formatShape(value.shape),
      formatShape(gradient.shape),
    );
  }
  return sum;
}
