import { transposed } from "../tensor/source-recipes.js";
import type { TensorSource } from "../tensor/tensor.js";
import { checkGraph, inferNode } from "./check-graph.js";
import { type Attributes, type Graph, int, ints, type Node, type OperatorDomain, type Value } from "./ir.js";
import { onnxTypes } from "./operators.js";
import { blockwise, type Int8Matrix, int8Columns } from "./quantized-weights.js";

export interface QuantizationOptions {
  readonly precision: "int8" | "int4";
  /** Quantizes int8 weights to 7 bits, for CPUs without VNNI, on which 8 bits saturate. Default: false. */
  readonly reduceRange?: boolean | undefined;
}

/** Number of elements of a column that share a scale in MatMulNBits. */
const BLOCK = 64;

/** MatMulNBits multiplies in 8-bit integers, which is several times faster than in floats and almost as accurate. */
const ACCURACY_LEVEL = 4;

/**
 * The last matrix of a gated feed-forward layer. Its input, a product of two activations, contains values in a few
 * channels that are thousands of times larger than the others (Sun et al. 2024, arXiv 2402.17762). With one scale for
 * the whole tensor, they would leave no precision to the others, and in 4 bits, neither would its weights
 * (docs/precision.md).
 */
const GATED_OUTPUT = /\.down_proj\.weight$/;

/** Matrices with fewer elements stay float32: they take little time, and rounding would cost accuracy. */
const SMALLEST_MATRIX = 1024;

/**
 * Replaces products with weight matrices by integer products, in the forms that ONNX Runtime runs fastest. int8:
 * activations are quantized at run time, per tensor. int4: weights are quantized in blocks; embeddings and output heads
 * use int8. In both, the last matrix of a gated feed-forward layer uses 8-bit blocks, and activations are quantized in
 * the same blocks. An embedding that is also the output head remains one tensor.
 */
export function quantizeGraph(graph: Graph, options: QuantizationOptions): Graph {
  const rewriter = new Rewriter(graph, options);
  for (const node of graph.nodes) rewriter.visit(node);
  return rewriter.finish();
}

class Rewriter {
  readonly #graph: Graph;
  readonly #options: QuantizationOptions;
  readonly #nodes: Node[] = [];
  readonly #initializers: Map<string, TensorSource>;
  readonly #values: Map<string, Value>;
  /** Quantized matrices by the name of the weight that they replace. */
  readonly #matrices = new Map<string, { values: string; scales: string }>();
  /** Quantized activations by name; products of the same input share one. */
  readonly #activations = new Map<string, { values: string; scale: string; zero: string }>();

  constructor(graph: Graph, options: QuantizationOptions) {
    this.#graph = graph;
    this.#options = options;
    this.#initializers = new Map(graph.initializers);
    this.#values = new Map(Array.from(graph.values).filter(([name]) => this.#isGiven(name)));
  }

  visit(node: Node): void {
    const [first = "", second = ""] = node.inputs;
    const weight = this.#matrix(node.op === "Gather" ? first : second);
    if (node.op === "MatMul" && weight) {
      if (GATED_OUTPUT.test(second)) this.#blockProduct(node, 8, weight);
      else if (this.#options.precision === "int4") this.#blockProduct(node, 4, weight);
      else this.#int8Product(node, first, this.#int8(second, weight));
    } else if (isTableProduct(node) && weight) {
      this.#int8Product(node, first, this.#int8Transposed(second, weight));
    } else if (node.op === "Gather" && weight && this.#isEmbedding(first)) {
      this.#embedding(node, first, weight);
    } else {
      this.#add(node);
    }
  }

  finish(): Graph {
    const used = new Set(this.#nodes.flatMap((node) => node.inputs));
    const initializers = new Map(Array.from(this.#initializers).filter(([name]) => used.has(name)));
    const values = new Map(
      Array.from(this.#values).filter(([name]) => used.has(name) || !this.#initializers.has(name)),
    );
    const graph = { ...this.#graph, nodes: this.#nodes, initializers, values };
    checkGraph(graph);
    return graph;
  }

  #isGiven(name: string): boolean {
    return this.#initializers.has(name) || this.#graph.inputs.some((input) => input.name === name);
  }

  /** The weight with this name, if it is a matrix that is large enough to quantize. */
  #matrix(name: string): TensorSource | undefined {
    const source = this.#graph.initializers.get(name);
    const [rows = 0, columns = 0] = source?.shape ?? [];
    const fits = source?.type === "float32" && source.shape.length === 2 && rows * columns >= SMALLEST_MATRIX;
    return fits ? source : undefined;
  }

  /** Whether an output head multiplies with the table too. Positions, and tables of untied models, stay float32. */
  #isEmbedding(name: string): boolean {
    return this.#graph.nodes.some((node) => isTableProduct(node) && node.inputs[1] === name);
  }

  /** y = (quantized x) (W in int8), scaled back: [.., K] x [K, N]. */
  #int8Product(node: Node, x: string, weight: { values: string; scales: string }): void {
    const activation = this.#quantized(x);
    const name = node.name;
    const sum = this.#emit("MatMulInteger", [activation.values, weight.values, activation.zero], `${name}/sum`);
    const real = this.#emit("Cast", [sum], `${name}/float`, { to: int(onnxTypes.float32) });
    const scale = this.#emit("Mul", [activation.scale, weight.scales], `${name}/scale`);
    this.#emit("Mul", [real, scale], node.outputs[0] ?? name);
  }

  /** y = x W with weights in blocks: [.., K] x [K, N]. Activations are quantized in the same blocks, for each row. */
  #blockProduct({ name, inputs: [x = "", matrix = ""], outputs }: Node, bits: 4 | 8, weight: TensorSource): void {
    const steps = bits === 8 && this.#options.reduceRange ? 64 : 2 ** (bits - 1);
    const blocks = blockwise(weight, { bits, block: BLOCK, steps });
    const values = this.#weight(`${matrix}.int${bits}`, blocks.values);
    const scales = this.#weight(`${matrix}.scales`, blocks.scales);
    const [k = 0, n = 0] = weight.shape;
    const sizes = { K: int(k), N: int(n), bits: int(bits), block_size: int(BLOCK) };
    const attributes = { ...sizes, accuracy_level: int(ACCURACY_LEVEL) };
    this.#emit("MatMulNBits", [x, values, scales], outputs[0] ?? name, attributes, "com.microsoft");
  }

  /**
   * Looks up rows of a table that is stored transposed for the output head, as int8 [d, V]: gathers columns, then
   * scales them.
   */
  #embedding(node: Node, name: string, weight: TensorSource): void {
    const table = this.#int8Transposed(name, weight);
    const ids = node.inputs[1] ?? "";
    const rank = this.#values.get(ids)?.shape.length ?? 0;
    const prefix = node.name;
    const columns = this.#emit("Gather", [table.values, ids], `${prefix}/columns`, { axis: int(1) });
    const order = [...Array.from({ length: rank }, (_, axis) => axis + 1), 0];
    const rows = this.#emit("Transpose", [columns], `${prefix}/rows`, { perm: ints(order) });
    const real = this.#emit("Cast", [rows], `${prefix}/float`, { to: int(onnxTypes.float32) });
    const scale = this.#emit("Gather", [table.scales, ids], `${prefix}/scale`, { axis: int(0) });
    const axis = this.#weight("constant last axis", lastAxis);
    const spread = this.#emit("Unsqueeze", [scale, axis], `${prefix}/scale_per_row`);
    this.#emit("Mul", [real, spread], node.outputs[0] ?? prefix);
  }

  #quantized(x: string): { values: string; scale: string; zero: string } {
    const known = this.#activations.get(x);
    if (known) return known;
    const made = { values: `${x}/int8`, scale: `${x}/int8_scale`, zero: `${x}/int8_zero` };
    this.#add({
      name: made.values,
      op: "DynamicQuantizeLinear",
      domain: "",
      inputs: [x],
      outputs: [made.values, made.scale, made.zero],
      attributes: {},
    });
    this.#activations.set(x, made);
    return made;
  }

  #int8(name: string, weight: TensorSource): { values: string; scales: string } {
    const known = this.#matrices.get(name);
    if (known) return known;
    const matrix: Int8Matrix = int8Columns(weight, this.#options.reduceRange ? 63 : 127);
    const made = {
      values: this.#weight(`${name}.int8`, matrix.values),
      scales: this.#weight(`${name}.scales`, matrix.scales),
    };
    this.#matrices.set(name, made);
    return made;
  }

  /** A table [V, d] as int8 [d, V], with one scale per row of the table. */
  #int8Transposed(name: string, weight: TensorSource): { values: string; scales: string } {
    return this.#int8(name, transposed(weight));
  }

  #weight(name: string, source: TensorSource): string {
    this.#initializers.set(name, source);
    this.#values.set(name, { name, type: source.type, shape: source.shape });
    return name;
  }

  #emit(
    op: string,
    inputs: readonly string[],
    output: string,
    attributes: Attributes = {},
    domain: OperatorDomain = "",
  ): string {
    this.#add({ name: output, op, domain, inputs, outputs: [output], attributes });
    return output;
  }

  #add(node: Node): void {
    const types = inferNode(node, this.#values, this.#initializers);
    this.#nodes.push(node);
    node.outputs.forEach((name, index) => {
      const inferred = types[index];
      // Keep names that the builder gave to unknown sizes.
      const value = this.#graph.values.get(name) ?? (inferred && { ...inferred, name });
      if (value) this.#values.set(name, value);
    });
  }
}

/** Whether a node multiplies x [N, d] by the transpose of a table [V, d], as output heads use embeddings. */
function isTableProduct({ op, inputs, attributes: { transA, transB, ...others } }: Node): boolean {
  const turnsTable = (transA?.value ?? 0) === 0 && transB?.value === 1;
  return op === "Gemm" && inputs.length === 2 && turnsTable && Object.keys(others).length === 0;
}

const lastAxis: TensorSource = { type: "int64", shape: [1], read: () => BigInt64Array.of(-1n) };
