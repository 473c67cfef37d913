import { transposed } from "../tensor/source-recipes.js";
import { constantSource, type TensorSource } from "../tensor/tensor.js";
import { GraphRewriter } from "./graph-rewriter.js";
import { type Graph, int, ints, type Node } from "./ir.js";
import { onnxTypes } from "./operators.js";
import { blockwise, type Int8Matrix, int8Columns } from "./quantized-weights.js";

export interface QuantizationOptions {
  /** Weights: `int4-fp32` rounds those of `int4`, but no activations, so that providers of GPUs compute it. */
  readonly precision: "int8" | "int4" | "int4-fp32";
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
 * the same blocks. In int4-fp32, embeddings and output heads use 8-bit blocks as well, and activations stay float32. An
 * embedding that is also the output head remains one tensor.
 */
export function quantizeGraph(graph: Graph, options: QuantizationOptions): Graph {
  const quantizer = new Quantizer(graph, options);
  for (const node of graph.nodes) quantizer.visit(node);
  return quantizer.finish();
}

class Quantizer {
  readonly #graph: Graph;
  readonly #options: QuantizationOptions;
  readonly #rewriter: GraphRewriter;
  /** Quantized matrices by the name of the weight that they replace. */
  readonly #matrices = new Map<string, { values: string; scales: string }>();
  /** Quantized activations by name; products of the same input share one. */
  readonly #activations = new Map<string, { values: string; scale: string; zero: string }>();

  constructor(graph: Graph, options: QuantizationOptions) {
    this.#graph = graph;
    this.#options = options;
    this.#rewriter = new GraphRewriter(graph);
  }

  visit(node: Node): void {
    const [first = "", second = ""] = node.inputs;
    const weight = this.#matrix(node.op === "Gather" ? first : second);
    if (node.op === "MatMul" && weight) {
      if (GATED_OUTPUT.test(second)) this.#blockProduct(node, 8, weight);
      else if (this.#options.precision === "int8") this.#int8Product(node, first, this.#int8(second, weight));
      else this.#blockProduct(node, 4, weight);
    } else if (isTableProduct(node) && weight) {
      if (this.#keepsActivations) this.#blockProduct(node, 8, transposed(weight));
      else this.#int8Product(node, first, this.#int8Transposed(second, weight));
    } else if (node.op === "Gather" && weight && this.#isEmbedding(first)) {
      if (this.#keepsActivations) this.#blockEmbedding(node, first, weight);
      else this.#embedding(node, first, weight);
    } else {
      this.#rewriter.add(node);
    }
  }

  finish(): Graph {
    return this.#rewriter.finish();
  }

  /** Whether activations stay float32. */
  get #keepsActivations(): boolean {
    return this.#options.precision === "int4-fp32";
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

  /** y = x W with weights in blocks: [.., K] x [K, N]. Activations may be quantized in the same blocks, per row. */
  #blockProduct({ name, inputs: [x = "", matrix = ""], outputs }: Node, bits: 4 | 8, weight: TensorSource): void {
    const { values, scales } = this.#blocks(matrix, bits, weight);
    const [k = 0, n = 0] = weight.shape;
    const sizes = { K: int(k), N: int(n), bits: int(bits), block_size: int(BLOCK) };
    const attributes = this.#keepsActivations ? sizes : { ...sizes, accuracy_level: int(ACCURACY_LEVEL) };
    this.#emit("MatMulNBits", [x, values, scales], outputs[0] ?? name, attributes, "com.microsoft");
  }

  #blocks(name: string, bits: 4 | 8, weight: TensorSource): { values: string; scales: string } {
    const known = this.#matrices.get(name);
    if (known) return known;
    const saturates = bits === 8 && this.#options.reduceRange && !this.#keepsActivations;
    const blocks = blockwise(weight, { bits, block: BLOCK, steps: saturates ? 64 : 2 ** (bits - 1) });
    const made = {
      values: this.#weight(`${name}.int${bits}`, blocks.values),
      scales: this.#weight(`${name}.scales`, blocks.scales),
    };
    this.#matrices.set(name, made);
    return made;
  }

  /** Looks up rows of a table [V, d] that is stored in 8-bit blocks for the output head, and scales them. */
  #blockEmbedding({ name, inputs: [, ids = ""], outputs }: Node, table: string, weight: TensorSource): void {
    const { values, scales } = this.#blocks(table, 8, transposed(weight));
    const [rows = 0, width = 0] = weight.shape;
    const blocks = Math.ceil(width / BLOCK);
    const shape = (suffix: string, sizes: readonly number[]) =>
      this.#weight(`${name}/${suffix}`, constantSource("int64", [sizes.length], BigInt64Array.from(sizes, BigInt)));
    const idShape = this.#rewriter.values.get(ids)?.shape ?? [];
    const packed = this.#emit("Gather", [values, ids], `${name}/packed`, { axis: int(0) });
    const integers = this.#emit("Cast", [packed], `${name}/float`, { to: int(onnxTypes.float32) });
    const zero = this.#weight("constant zero of 8 bits", constantSource("float32", [], Float32Array.of(128)));
    const steps = this.#emit("Sub", [integers, zero], `${name}/steps`);
    const perRow = this.#emit("Reshape", [scales, shape("scale_shape", [rows, blocks, 1])], `${name}/scale_table`);
    const scale = this.#emit("Gather", [perRow, ids], `${name}/scale`, { axis: int(0) });
    const scaled = this.#emit("Mul", [steps, scale], `${name}/scaled`);
    const open = [...idShape.map(() => 0), blocks * BLOCK];
    const padded = width % BLOCK === 0 ? (outputs[0] ?? name) : `${name}/padded`;
    this.#emit("Reshape", [scaled, shape("shape", open)], padded);
    if (width % BLOCK === 0) return;
    const bounds = [[0], [width], [-1]].map((sizes, at) => shape(`bound${at}`, sizes));
    this.#emit("Slice", [padded, ...bounds], outputs[0] ?? name);
  }

  /**
   * Looks up rows of a table that is stored transposed for the output head, as int8 [d, V]: gathers columns, then
   * scales them.
   */
  #embedding(node: Node, name: string, weight: TensorSource): void {
    const table = this.#int8Transposed(name, weight);
    const ids = node.inputs[1] ?? "";
    const rank = this.#rewriter.values.get(ids)?.shape.length ?? 0;
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
    this.#rewriter.add({
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
    return this.#rewriter.weight(name, source);
  }

  #emit(...node: Parameters<GraphRewriter["emit"]>): string {
    return this.#rewriter.emit(...node);
  }
}

/** Whether a node multiplies x [N, d] by the transpose of a table [V, d], as output heads use embeddings. */
function isTableProduct({ op, inputs, attributes: { transA, transB, ...others } }: Node): boolean {
  const turnsTable = (transA?.value ?? 0) === 0 && transB?.value === 1;
  return op === "Gemm" && inputs.length === 2 && turnsTable && Object.keys(others).length === 0;
}

const lastAxis: TensorSource = { type: "int64", shape: [1], read: () => BigInt64Array.of(-1n) };
