import { float16Source } from "../tensor/float-conversion.js";
import { elementCount, type TensorSource } from "../tensor/tensor.js";
import { GraphRewriter } from "./graph-rewriter.js";
import { type Graph, int, type Node } from "./ir.js";
import { onnxTypes } from "./operators.js";

type FloatType = "float32" | "float16";

/** Products, which take nearly all the time and memory. */
const products = new Set(["Gemm", "MatMul", "MatMulNBits"]);

/** Operators that only move numbers, or whose results are about as exact in float16 as their input. */
const followers = new Set([
  ...["Expand", "Gather", "GatherElements", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose"],
  ...["Unsqueeze", "Gelu", "Neg", "Relu", "Sigmoid"],
]);

/** Operators whose floating-point inputs must have the same type. */
const combiners = new Set(["Add", "Concat", "Div", "Max", "Min", "Mul", "Sub", "Where"]);

/** Smaller weights, such as those of norms, stay float32 unless they are combined with float16. */
const SMALLEST_MATRIX = 1024;

/**
 * Computes products in float16 and stores their weights in float16, with the rules of torch's autocast: norms, softmax,
 * logarithms and other functions that need range or exactness are computed in float32, and a sum of both types is
 * float32, so residual connections are too. Inputs and outputs of the graph keep their types, so callers need not know.
 *
 * @throws invalid_graph
 */
export function halfPrecision(graph: Graph): Graph {
  const converter = new Converter(graph);
  for (const node of graph.nodes) converter.visit(node);
  return converter.finish();
}

class Converter {
  readonly #graph: Graph;
  readonly #rewriter: GraphRewriter;
  /** The type in which each floating-point value was first computed. */
  readonly #types = new Map<string, FloatType>();

  constructor(graph: Graph) {
    this.#graph = graph;
    this.#rewriter = new GraphRewriter(graph);
    for (const { name } of graph.inputs) this.#types.set(name, "float32");
  }

  visit(node: Node): void {
    const type = this.#typeOf(node);
    const inputs = node.inputs.map((name) => (this.#isFloat(name) ? this.#as(name, type) : name));
    const outputs = node.outputs.map((name) => (this.#isFloat(name) ? formOf(name, type) : name));
    // Nodes are named after their first output, which a conversion to float32 may get as its name.
    const name = outputs[0] === node.outputs[0] ? node.name : formOf(node.name, type);
    this.#rewriter.add({ ...node, name, inputs, outputs }, node.outputs);
    for (const name of node.outputs) if (this.#isFloat(name)) this.#types.set(name, type);
  }

  finish(): Graph {
    for (const { name, type } of this.#graph.outputs) if (type === "float32") this.#as(name, "float32");
    return this.#rewriter.finish();
  }

  /** The type in which a node computes. */
  #typeOf({ op, inputs }: Node): FloatType {
    if (products.has(op)) return "float16";
    const taken = op === "Where" ? inputs.slice(1) : followers.has(op) ? inputs.slice(0, 1) : inputs;
    const floats = taken.filter((name) => this.#isFloat(name));
    if (followers.has(op)) return floats.every((name) => this.#isHalf(name)) ? "float16" : "float32";
    if (!combiners.has(op)) return "float32";
    const computed = floats.filter((name) => !this.#graph.initializers.has(name));
    return computed.length > 0 && computed.every((name) => this.#types.get(name) === "float16") ? "float16" : "float32";
  }

  #isFloat(name: string): boolean {
    return this.#graph.values.get(name)?.type === "float32";
  }

  #isHalf(name: string): boolean {
    const weight = this.#graph.initializers.get(name);
    return weight ? isMatrix(weight) : this.#types.get(name) === "float16";
  }

  /** The name of a value in a type, into which it is converted once. */
  #as(name: string, type: FloatType): string {
    const form = formOf(name, type);
    if (this.#rewriter.values.has(form)) return form;
    const weight = this.#graph.initializers.get(name);
    if (weight) return this.#rewriter.weight(form, float16Source(weight));
    const other = formOf(name, type === "float16" ? "float32" : "float16");
    this.#rewriter.add(
      {
        name: form,
        op: "Cast",
        domain: "",
        inputs: [other],
        outputs: [form],
        attributes: { to: int(onnxTypes[type]) },
      },
      [name],
    );
    return form;
  }
}

/** The name of a value in float16 is its own name with a suffix. */
function formOf(name: string, type: FloatType): string {
  return type === "float16" ? `${name}.fp16` : name;
}

function isMatrix({ shape }: TensorSource): boolean {
  return shape.length >= 2 && elementCount(shape) >= SMALLEST_MATRIX;
}
