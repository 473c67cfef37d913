import type { TensorSource } from "../tensor/tensor.js";
import { checkGraph, inferNode } from "./check-graph.js";
import type { Attributes, Graph, Node, OperatorDomain, Value } from "./ir.js";

/** A graph that is made from another one, node by node. Inputs, outputs and names of unknown sizes stay the same. */
export class GraphRewriter {
  readonly graph: Graph;
  /** The types of inputs, weights and nodes so far. */
  readonly values: Map<string, Value>;
  readonly #nodes: Node[] = [];
  readonly #initializers: Map<string, TensorSource>;

  constructor(graph: Graph) {
    this.graph = graph;
    this.#initializers = new Map(graph.initializers);
    this.values = new Map(Array.from(graph.values).filter(([name]) => this.#isGiven(name)));
  }

  /** The nodes added so far, without the weights that none of them uses. @throws invalid_graph */
  finish(): Graph {
    const used = new Set(this.#nodes.flatMap((node) => node.inputs));
    const initializers = new Map(Array.from(this.#initializers).filter(([name]) => used.has(name)));
    const values = new Map(Array.from(this.values).filter(([name]) => used.has(name) || !this.#initializers.has(name)));
    const graph = { ...this.graph, nodes: this.#nodes, initializers, values };
    checkGraph(graph);
    return graph;
  }

  /** Adds a weight; returns its name. */
  weight(name: string, source: TensorSource): string {
    this.#initializers.set(name, source);
    this.values.set(name, { name, type: source.type, shape: source.shape });
    return name;
  }

  /** Adds a node with one output, which has the name of the node; returns this name. */
  emit(
    op: string,
    inputs: readonly string[],
    output: string,
    attributes: Attributes = {},
    domain: OperatorDomain = "",
  ): string {
    this.add({ name: output, op, domain, inputs, outputs: [output], attributes });
    return output;
  }

  /** Adds a node. `originals` are its outputs in the original graph, if they had other names. */
  add(node: Node, originals: readonly string[] = node.outputs): void {
    const types = inferNode(node, this.values, this.#initializers);
    this.#nodes.push(node);
    node.outputs.forEach((name, index) => {
      const inferred = types[index];
      if (!inferred) return;
      // Keep names that the builder gave to unknown sizes.
      const { shape } = this.graph.values.get(originals[index] ?? name) ?? inferred;
      this.values.set(name, { name, type: inferred.type, shape });
    });
  }

  #isGiven(name: string): boolean {
    return this.#initializers.has(name) || this.graph.inputs.some((input) => input.name === name);
  }
}
