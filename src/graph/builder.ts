import { EpalmError } from "../core/errors.js";
import { constantSource, type ElementType, formatShape, type TensorSource } from "../tensor/tensor.js";
import { checkGraph, constantNumbers, inferNode } from "./check-graph.js";
import {
  type Attributes,
  type Dim,
  float,
  type Graph,
  int,
  ints,
  type Node,
  type OperatorDomain,
  string,
  type Value,
} from "./ir.js";
import { onnxTypes } from "./operators.js";

/** A value for each item of a list: as many as the list has. */
export type ValuesFor<List extends readonly unknown[]> = { -readonly [Index in keyof List]: Value };

/** `Array.map` forgets how long a tuple is. */
function mapValues<const List extends readonly unknown[]>(
  list: List,
  make: (item: List[number], index: number) => Value,
): ValuesFor<List> {
  return list.map(make) as ValuesFor<List>;
}

/** An end for `slice` beyond every axis. */
const TO_THE_END = Number.MAX_SAFE_INTEGER;

/** A shader of WebGPU may have as few as 8 buffers, and a Split needs one for its input and one for each part. */
const MOST_PARTS = 7;

/**
 * Builds a graph node by node. Each method adds one ONNX operator and checks types and shapes immediately, so that a
 * mistake is reported at the call that makes it. Names contain the scope: `layers.3/MatMul_2`.
 */
export class GraphBuilder {
  readonly #name: string;
  readonly #inputs: Value[] = [];
  readonly #outputs: Value[] = [];
  readonly #nodes: Node[] = [];
  readonly #initializers = new Map<string, TensorSource>();
  readonly #values = new Map<string, Value>();
  readonly #counters = new Map<string, number>();
  #scope = "";

  constructor(name: string) {
    this.#name = name;
  }

  /** A builder that extends a graph and keeps its inputs and outputs. Names of new nodes begin with `scope`. */
  static extending(graph: Graph, scope: string): GraphBuilder {
    const builder = new GraphBuilder(graph.name);
    builder.#inputs.push(...graph.inputs);
    builder.#outputs.push(...graph.outputs);
    builder.#nodes.push(...graph.nodes);
    for (const [name, source] of graph.initializers) builder.#initializers.set(name, source);
    for (const [name, value] of graph.values) builder.#values.set(name, value);
    builder.#scope = scope;
    return builder;
  }

  /** A value that the graph already contains. @throws `invalid_graph` */
  value(name: string): Value {
    const value = this.#values.get(name);
    if (!value) throw new EpalmError("invalid_graph", `there is no value '${name}'`);
    return value;
  }

  /** The numbers of a small int64 constant; undefined for any other value. */
  constantOf(value: Value): readonly number[] | undefined {
    return constantNumbers(this.#initializers.get(value.name));
  }

  /** Prefixes the names of the nodes that `build` adds; nested scopes are joined with dots. */
  scope<T>(name: string, build: () => T): T {
    const outer = this.#scope;
    this.#scope = outer ? `${outer}.${name}` : name;
    try {
      return build();
    } finally {
      this.#scope = outer;
    }
  }

  input(name: string, type: ElementType, shape: readonly Dim[]): Value {
    const value = this.#add({ name, type, shape });
    this.#inputs.push(value);
    return value;
  }

  /** A weight with its own name. A name can be used again only with the same source. */
  weight(name: string, source: TensorSource): Value {
    const known = this.#values.get(name);
    if (known && this.#initializers.get(name) === source) return known;
    this.#initializers.set(name, source);
    return this.#add({ name, type: source.type, shape: source.shape });
  }

  /** Declares a value as an output with a stable name. */
  output(name: string, value: Value): Value {
    const node = this.#node("Identity", [value], {}, [name]);
    this.#outputs.push(node);
    return node;
  }

  finish(): Graph {
    const graph: Graph = {
      name: this.#name,
      inputs: this.#inputs,
      outputs: this.#outputs,
      nodes: this.#nodes,
      initializers: this.#initializers,
      values: this.#values,
    };
    checkGraph(graph);
    return graph;
  }

  // Constants. Equal constants share one initializer.

  /** int64 numbers of shape [n]. */
  integers(values: readonly number[]): Value {
    return this.#constant(`integers ${values.join(" ")}`, () =>
      constantSource("int64", [values.length], BigInt64Array.from(values, BigInt)),
    );
  }

  /** One int64 number without axes. */
  integer(value: number): Value {
    return this.#constant(`integer ${value}`, () => constantSource("int64", [], BigInt64Array.of(BigInt(value))));
  }

  /** float32 numbers of shape [n]. */
  numbers(values: readonly number[]): Value {
    return this.#constant(`numbers ${values.join(" ")}`, () =>
      constantSource("float32", [values.length], Float32Array.from(values)),
    );
  }

  /** One float32 number without axes. */
  number(value: number): Value {
    return this.#constant(`number ${value}`, () => constantSource("float32", [], Float32Array.of(value)));
  }

  // Elementwise arithmetic.

  add(a: Value, b: Value): Value {
    return this.#one("Add", [a, b]);
  }
  subtract(a: Value, b: Value): Value {
    return this.#one("Sub", [a, b]);
  }
  multiply(a: Value, b: Value): Value {
    return this.#one("Mul", [a, b]);
  }
  divide(a: Value, b: Value): Value {
    return this.#one("Div", [a, b]);
  }
  power(a: Value, exponent: Value): Value {
    return this.#one("Pow", [a, exponent]);
  }
  maximum(a: Value, b: Value): Value {
    return this.#one("Max", [a, b]);
  }
  minimum(a: Value, b: Value): Value {
    return this.#one("Min", [a, b]);
  }
  negate(x: Value): Value {
    return this.#one("Neg", [x]);
  }
  squareRoot(x: Value): Value {
    return this.#one("Sqrt", [x]);
  }
  reciprocal(x: Value): Value {
    return this.#one("Reciprocal", [x]);
  }
  logarithm(x: Value): Value {
    return this.#one("Log", [x]);
  }
  cosine(x: Value): Value {
    return this.#one("Cos", [x]);
  }
  sine(x: Value): Value {
    return this.#one("Sin", [x]);
  }
  cast(x: Value, type: ElementType): Value {
    return x.type === type ? x : this.#one("Cast", [x], { to: int(onnxTypes[type]) });
  }

  // Activations.

  relu(x: Value): Value {
    return this.#one("Relu", [x]);
  }
  tanh(x: Value): Value {
    return this.#one("Tanh", [x]);
  }
  sigmoid(x: Value): Value {
    return this.#one("Sigmoid", [x]);
  }
  /** The exact function (`none`) or its tanh approximation. */
  gelu(x: Value, approximate: "none" | "tanh"): Value {
    return this.#one("Gelu", [x], { approximate: string(approximate) });
  }
  /** Along the last axis. */
  softmax(x: Value): Value {
    return this.#one("Softmax", [x], { axis: int(-1) });
  }

  exponential(x: Value): Value {
    return this.#one("Exp", [x]);
  }
  /** The error function. */
  erf(x: Value): Value {
    return this.#one("Erf", [x]);
  }

  // Comparison and selection.

  less(a: Value, b: Value): Value {
    return this.#one("Less", [a, b]);
  }
  and(a: Value, b: Value): Value {
    return this.#one("And", [a, b]);
  }
  or(a: Value, b: Value): Value {
    return this.#one("Or", [a, b]);
  }
  not(x: Value): Value {
    return this.#one("Not", [x]);
  }
  where(condition: Value, yes: Value, no: Value): Value {
    return this.#one("Where", [condition, yes, no]);
  }

  // Products.

  /** [..., M, K] x [..., K, N] -> [..., M, N] */
  matmul(a: Value, b: Value): Value {
    return this.#one("MatMul", [a, b]);
  }
  /** a [M, K] x b^T, where b is [N, K] -> [M, N]; for tied embeddings, which are stored once, as [N, K]. */
  matmulTransposed(a: Value, b: Value): Value {
    return this.#one("Gemm", [a, b], { transB: int(1) });
  }

  /** a x b, with the last two axes of either swapped, without a transposed copy. */
  fusedMatmul(a: Value, b: Value, swap: { readonly a?: boolean; readonly b?: boolean }): Value {
    const attributes = { transA: int(Number(swap.a ?? false)), transB: int(Number(swap.b ?? false)) };
    return this.#many("FusedMatMul", [a, b], attributes, ["product"], "com.microsoft")[0];
  }

  /**
   * Rotates the pairs (x_i, x_{i + r/2}) of the first r elements of each head of x [B, heads, T, n], or its pairs
   * (x_2i, x_{2i + 1}) if `interleaved`, by the angles at `rows` (int64 [B, T], or [1] for the first of T consecutive
   * rows) of `cosines` and `sines` [N, r / 2]. Elements from r on are not changed.
   */
  rotaryEmbedding(x: Value, rows: Value, cosines: Value, sines: Value, interleaved = false): Value {
    const [, heads, , size] = x.shape;
    const rotated = 2 * Number(cosines.shape.at(-1));
    const attributes = {
      ...(interleaved && { interleaved: int(1) }),
      ...(rotated !== size && { rotary_embedding_dim: int(rotated), num_heads: int(Number(heads)) }),
    };
    return this.#many("RotaryEmbedding", [x, rows, cosines, sines], attributes, ["rotated"], "com.microsoft")[0];
  }

  // Normalisation and reduction.

  /** Along the last axis; scale and bias are [n]. */
  layerNorm(x: Value, scale: Value, bias: Value, epsilon: number): Value {
    return this.#one("LayerNormalization", [x, scale, bias], { axis: int(-1), epsilon: float(epsilon) });
  }
  /** Mean along one axis, which remains with size 1. */
  mean(x: Value, axis: number): Value {
    return this.#one("ReduceMean", [x, this.integers([axis])], { keepdims: int(1) });
  }
  /** Sum along some axes, which remain with size 1 if `keep` is true. */
  sum(x: Value, axes: readonly number[], keep: boolean): Value {
    return this.#one("ReduceSum", [x, this.integers(axes)], { keepdims: int(Number(keep)) });
  }
  /** For each element, the sum of it and of all later elements along the last axis. */
  sumToTheEnd(x: Value): Value {
    return this.#one("CumSum", [x, this.integer(x.shape.length - 1)], { reverse: int(1) });
  }
  /** Cross-entropy of scores [N, V] and target ids [N]: the loss of each row [N] and all log-probabilities [N, V]. */
  crossEntropy(scores: Value, ids: Value): { loss: Value; logProbabilities: Value } {
    const outputs = ["loss", "log-probabilities"] as const;
    const attributes = { reduction: string("none") };
    const [loss, logProbabilities] = this.#many("SoftmaxCrossEntropyLoss", [scores, ids], attributes, outputs);
    return { loss, logProbabilities };
  }
  /** The k largest elements along the last axis, in descending order; k is int64 [1]. */
  topK(x: Value, k: Value): { values: Value; indices: Value } {
    const attributes = { axis: int(-1), largest: int(1), sorted: int(1) };
    const [values, indices] = this.#many("TopK", [x, k], attributes, ["values", "indices"]);
    return { values, indices };
  }

  // Shapes and positions.

  /** 0 keeps the size of that axis; -1 is the remaining size. */
  reshape(x: Value, shape: readonly number[]): Value {
    return this.#one("Reshape", [x, this.integers(shape)]);
  }
  transpose(x: Value, order: readonly number[]): Value {
    return this.#one("Transpose", [x], { perm: ints(order) });
  }
  unsqueeze(x: Value, ...axes: number[]): Value {
    return this.#one("Unsqueeze", [x, this.integers(axes)]);
  }
  squeeze(x: Value, ...axes: number[]): Value {
    return this.#one("Squeeze", [x, this.integers(axes)]);
  }
  concat(parts: readonly Value[], axis: number): Value {
    const [only] = parts;
    return only && parts.length === 1 ? only : this.#one("Concat", parts, { axis: int(axis) });
  }
  /** Many parts are split off in groups. */
  split<const Sizes extends readonly number[]>(x: Value, sizes: Sizes, axis: number): ValuesFor<Sizes> {
    if (sizes.length <= MOST_PARTS) return this.#many("Split", [x, this.integers(sizes)], { axis: int(axis) }, sizes);
    const groups = Array.from({ length: Math.ceil(sizes.length / MOST_PARTS) }, (_, group) =>
      sizes.slice(group * MOST_PARTS, (group + 1) * MOST_PARTS),
    );
    const joined = groups.map((group) => group.reduce((sum, size) => sum + size, 0));
    const parts = this.split<readonly number[]>(x, joined, axis);
    return groups.flatMap((group, index) => this.split(parts[index] as Value, group, axis)) as ValuesFor<Sizes>;
  }
  /**
   * Splits one axis into parts whose sizes are known only at run time: `sizes` is int64 [n], and `names` are the
   * names of the parts' sizes.
   */
  splitDynamic<const Names extends readonly string[]>(
    x: Value,
    sizes: Value,
    names: Names,
    axis: number,
  ): ValuesFor<Names> {
    const parts = this.#many("Split", [x, sizes], { axis: int(axis) }, names);
    return mapValues(parts, (part, index) => this.#rename(part, part.shape.with(axis, names[index] ?? "")));
  }
  /** The size of one axis, as int64 [1]. */
  sizeOf(x: Value, axis: number): Value {
    return this.#one("Shape", [x], { start: int(axis), end: int(axis + 1) });
  }
  /** Repeats x [1, ...] for each entry of `like` [B, ...]: [B, ...]. */
  repeatFor(x: Value, like: Value): Value {
    const sizes = this.concat([this.sizeOf(like, 0), this.integers(x.shape.slice(1).map(() => 1))], 0);
    return this.#rename(this.#one("Expand", [x, sizes]), x.shape.with(0, like.shape[0] ?? 1));
  }
  /** Elements start (inclusive) to end (exclusive) along one axis; negative numbers count from the end. */
  slice(x: Value, axis: number, start: number, end = TO_THE_END): Value {
    return this.#one("Slice", [x, this.integers([start]), this.integers([end]), this.integers([axis])]);
  }
  /** Entries of `data` along an axis, by index. */
  gather(data: Value, indices: Value, axis = 0): Value {
    return this.#one("Gather", [data, indices], { axis: int(axis) });
  }
  /** Gathers columns of each row: data [N, M], indices [N, k] -> [N, k]. */
  gatherColumns(data: Value, indices: Value): Value {
    return this.#one("GatherElements", [data, indices], { axis: int(1) });
  }

  /** The sizes of all axes, as int64. */
  shapeOf(x: Value): Value {
    return this.#one("Shape", [x]);
  }
  /** Reshapes to the shape of `like`, any of whose sizes may be known only at run time. */
  reshapeLike(x: Value, like: Value): Value {
    return this.#rename(this.#one("Reshape", [x, this.shapeOf(like)]), like.shape);
  }
  /** Repeats axes of size 1 to match the shape of `like`. */
  expandLike(x: Value, like: Value): Value {
    return this.#rename(this.#one("Expand", [x, this.shapeOf(like)]), like.shape);
  }
  /** Pads one axis with `before` and `after` zeros. */
  pad(x: Value, axis: number, before: number, after: number): Value {
    const rank = x.shape.length;
    const pads = new Array<number>(2 * rank)
      .fill(0)
      .with(axis, before)
      .with(rank + axis, after);
    return this.#one("Pad", [x, this.integers(pads)]);
  }
  /**
   * Adds `updates` [N, ...] to the entries `indices` [N] of `data` along its first axis. ScatterND is not used:
   * that of ONNX Runtime adds with several threads at once and loses sums if entries repeat (issue 23396).
   */
  scatterAddRows(data: Value, indices: Value, updates: Value): Value {
    const inner = updates.shape.slice(1).map((_, axis) => axis + 1);
    const column = inner.length > 0 ? this.unsqueeze(indices, ...inner) : indices;
    const everywhere = this.expandLike(this.cast(column, "int64"), updates);
    return this.#one("ScatterElements", [data, everywhere, updates], {
      axis: int(0),
      reduction: string("add"),
    });
  }
  /** Adds `updates` [N, k] to the columns `indices` [N, k] of `data` [N, M]. */
  scatterAddColumns(data: Value, indices: Value, updates: Value): Value {
    return this.#one("ScatterElements", [data, indices, updates], { axis: int(1), reduction: string("add") });
  }

  /** The number of elements as a float32 number. */
  elementCount(x: Value): Value {
    const known = x.shape.every((dim) => typeof dim === "number");
    if (known) return this.number(x.shape.reduce<number>((count, dim) => count * Number(dim), 1));
    return this.cast(this.#one("Size", [x]), "float32");
  }
  /** The index of each element, counted through all axes: int64, of the shape of `x`. */
  indexOfEach(x: Value): Value {
    const every = this.#one("Range", [this.integer(0), this.#one("Size", [x]), this.integer(1)]);
    return this.reshapeLike(every, x);
  }

  /** Adds outputs up to `index` to a node that has omitted them so far, and returns the one at `index`. */
  extendOutputs(name: string, index: number): Value {
    const at = this.#nodes.findIndex((node) => node.name === name);
    const node = this.#nodes[at];
    if (!node) throw new EpalmError("invalid_graph", `there is no node '${name}'`);
    const types = inferNode(node, this.#values, this.#initializers);
    if (index >= types.length) {
      throw new EpalmError("invalid_graph", `${node.op} '${name}': has no output ${index}`);
    }
    const count = Math.max(index + 1, node.outputs.length);
    const more = Array.from({ length: count }, (_, i) => node.outputs[i] ?? `${name}.${i}`);
    this.#nodes[at] = { ...node, outputs: more };
    more.forEach((output, i) => {
      const type = types[i];
      if (!type) throw new EpalmError("invalid_graph", `${node.op} '${name}': has no output ${i}`);
      if (!this.#values.has(output)) this.#add({ ...type, name: output });
    });
    return this.value(more[index] ?? "");
  }

  /** Adds any other operator that the checker knows and that has `outputs` outputs. */
  operator(
    op: string,
    inputs: readonly Value[],
    attributes: Attributes,
    outputs = 1,
    domain: OperatorDomain = "",
  ): Value[] {
    return this.#many(op, inputs, attributes, Array.from({ length: outputs }), domain);
  }

  #one(op: string, inputs: readonly Value[], attributes: Attributes = {}): Value {
    return this.#node(op, inputs, attributes, [this.#fresh(op)]);
  }

  /** @param outputs one item per output of the node; only their number matters */
  #many<const Outputs extends readonly unknown[]>(
    op: string,
    inputs: readonly Value[],
    attributes: Attributes,
    outputs: Outputs,
    domain: OperatorDomain = "",
  ): ValuesFor<Outputs> {
    const name = this.#fresh(op);
    const nameOf = (index: number) => (outputs.length === 1 ? name : `${name}.${index}`);
    const names = outputs.map((_, index) => nameOf(index));
    this.#node(op, inputs, attributes, names, domain);
    return mapValues(outputs, (_, index) => this.value(nameOf(index)));
  }

  /** Adds a node and returns its first output. */
  #node(
    op: string,
    inputs: readonly Value[],
    attributes: Attributes,
    outputs: readonly string[],
    domain: OperatorDomain = "",
  ): Value {
    const node: Node = {
      name: outputs[0] ?? op,
      op,
      domain,
      inputs: inputs.map((value) => value.name),
      outputs,
      attributes,
    };
    const types = inferNode(node, this.#values, this.#initializers);
    this.#nodes.push(node);
    outputs.forEach((name, index) => {
      const type = types[index];
      if (!type) throw new EpalmError("invalid_graph", `${op} '${node.name}': has no output ${index}`);
      this.#add({ ...type, name });
    });
    return this.value(node.name);
  }

  #constant(key: string, make: () => TensorSource): Value {
    const name = `constant ${key}`;
    return this.#values.get(name) ?? this.weight(name, make());
  }

  #add(value: Value): Value {
    if (this.#values.has(value.name)) {
      throw new EpalmError("invalid_graph", `'${value.name}' ${formatShape(value.shape)} is defined twice`);
    }
    this.#values.set(value.name, value);
    return value;
  }

  /** Replaces the unknown sizes in a value's shape by meaningful names. */
  #rename(value: Value, shape: readonly Dim[]): Value {
    const renamed = { ...value, shape };
    this.#values.set(value.name, renamed);
    return renamed;
  }

  #fresh(op: string): string {
    const base = this.#scope ? `${this.#scope}/${op}` : op;
    const count = this.#counters.get(base) ?? 0;
    this.#counters.set(base, count + 1);
    return count === 0 ? base : `${base}_${count}`;
  }
}
