import { EpalmError, unexpected } from "../core/errors.js";
import { elementCount, formatShape, type TensorSource } from "../tensor/tensor.js";
import { compatibleDims } from "./dims.js";
import type { Graph, Node, TensorType, Value } from "./ir.js";
import { inferTypes } from "./operators.js";

/** The longest constant that shape rules read; shapes, axes and parts are far shorter. */
const MAX_SHAPE_CONSTANT = 1024;

/** The numbers of a small int64 constant; undefined for anything else. */
export function constantNumbers(source: TensorSource | undefined): readonly number[] | undefined {
  if (source?.type !== "int64" || elementCount(source.shape) > MAX_SHAPE_CONSTANT) return undefined;
  return Array.from(source.read(), Number);
}

/** Types of a node's outputs, inferred from the values and constants defined before it. @throws `invalid_graph` */
export function inferNode(
  node: Node,
  values: ReadonlyMap<string, Value>,
  initializers: ReadonlyMap<string, TensorSource>,
): readonly TensorType[] {
  const where = `${node.op} '${node.name}'`;
  const types = node.inputs.map((name) => {
    if (name === "") return undefined;
    const value = values.get(name);
    if (!value) throw new EpalmError("invalid_graph", `${where}: input '${name}' is not defined before it`);
    return value;
  });
  return inferTypes(node.domain === "" ? node.op : `${node.domain}.${node.op}`, {
    where,
    types,
    attributes: node.attributes,
    constant: (index) => constantNumbers(initializers.get(node.inputs[index] ?? "")),
  });
}

/**
 * Checks a whole graph, however it was built: every input must be defined before the node that uses it, and the
 * declared types and shapes must be those that the operators produce.
 *
 * @throws `invalid_graph` at the first node that fails
 */
export function checkGraph(graph: Graph): void {
  const made = new Map<string, Value>();
  const add = (value: Value, where: string) => {
    if (made.has(value.name)) throw new EpalmError("invalid_graph", `${where}: '${value.name}' is defined twice`);
    made.set(value.name, value);
  };
  for (const input of graph.inputs) add(input, "input");
  for (const [name, source] of graph.initializers) add({ name, type: source.type, shape: source.shape }, "weight");
  for (const node of graph.nodes) {
    const types = inferNode(node, made, graph.initializers);
    node.outputs.forEach((name, index) => {
      const [inferred, declared] = [types[index], graph.values.get(name)];
      if (!inferred || !declared) {
        throw new EpalmError("invalid_graph", `${node.op} '${node.name}': output '${name}' has no type`);
      }
      expectSame(declared, inferred, `${node.op} '${node.name}': output '${name}'`);
      // Keep names that the builder gave to unknown sizes, because later nodes were built with them.
      add({ ...declared, name }, node.name);
    });
  }
  for (const output of graph.outputs) {
    const value = made.get(output.name);
    if (!value) throw new EpalmError("invalid_graph", `output '${output.name}' is not computed by any node`);
    expectSame(output, value, `output '${output.name}'`);
  }
}

function expectSame(declared: TensorType, inferred: TensorType, where: string): void {
  const fits =
    declared.type === inferred.type &&
    declared.shape.length === inferred.shape.length &&
    declared.shape.every((dim, index) => compatibleDims(dim, inferred.shape[index] ?? 1));
  if (fits) return;
  const format = (type: TensorType) => `${type.type} ${formatShape(type.shape)}`;
  throw unexpected("invalid_graph", where, format(declared), format(inferred));
}
