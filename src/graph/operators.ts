import { EpalmError } from "../core/errors.js";
import { type ElementType, formatShape, sameShape } from "../tensor/tensor.js";
import { addDims, broadcastShapes, remainingDim, unknownDim } from "./dims.js";
import type { Attribute, Attributes, Dim, TensorType } from "./ir.js";

/**
 * Type and shape inference: one rule per operator, named as in the ONNX operator list (opset 21) and ONNX Runtime's
 * contrib operators. A graph can use no other operators.
 */

/** The node to which a rule is applied. */
export interface Inputs {
  /** Operator and name of the node, for messages. */
  readonly where: string;
  readonly types: readonly (TensorType | undefined)[];
  readonly attributes: Attributes;
  /** The numbers of a small constant input; undefined if the input is not one. */
  constant(index: number): readonly number[] | undefined;
}

type Rule = (node: Inputs) => readonly TensorType[];

function fail(node: Inputs, message: string): EpalmError {
  return new EpalmError("invalid_graph", `${node.where}: ${message}`);
}

function input(node: Inputs, index: number): TensorType {
  const type = node.types[index];
  if (!type) throw fail(node, `input ${index} is missing`);
  return type;
}

function attribute<K extends Attribute["kind"]>(node: Inputs, name: string, kind: K) {
  const found = node.attributes[name];
  if (found === undefined) return undefined;
  if (found.kind !== kind) throw fail(node, `attribute ${name}: expected ${kind}, got ${found.kind}`);
  return found.value as Extract<Attribute, { kind: K }>["value"];
}

function needConstant(node: Inputs, index: number): readonly number[] {
  const values = node.constant(index);
  if (!values) throw fail(node, `input ${index} must be a constant`);
  return values;
}

/** The index of an axis; negative axes count from the end, as in ONNX. */
function axisOf(node: Inputs, axis: number, rank: number): number {
  const index = axis < 0 ? axis + rank : axis;
  if (index < 0 || index >= rank) throw fail(node, `axis ${axis} is outside rank ${rank}`);
  return index;
}

function expectType(node: Inputs, index: number, ...allowed: ElementType[]): TensorType {
  const type = input(node, index);
  if (!allowed.includes(type.type)) {
    throw fail(node, `input ${index}: expected ${allowed.join(" or ")}, got ${type.type}`);
  }
  return type;
}

function sameTypes(node: Inputs, a: TensorType, b: TensorType): void {
  if (a.type !== b.type) throw fail(node, `inputs differ in type: ${a.type} and ${b.type}`);
}

const dimAt = (shape: readonly Dim[], index: number): Dim => shape[index] ?? 1;

const unary: Rule = (node) => [input(node, 0)];

const floatUnary: Rule = (node) => [expectType(node, 0, "float32", "float16")];
const angleUnary: Rule = (node) => [expectType(node, 0, "float32", "float64")];

const binary: Rule = (node) => {
  const [a, b] = [input(node, 0), input(node, 1)];
  sameTypes(node, a, b);
  return [{ type: a.type, shape: broadcastShapes(a.shape, b.shape, node.where) }];
};

const comparison: Rule = (node) => [{ ...(binary(node)[0] as TensorType), type: "bool" }];

const logical: Rule = (node) => {
  expectType(node, 0, "bool");
  expectType(node, 1, "bool");
  return binary(node);
};

/** Input 0 of a product, and another one of the same type. */
function factors(node: Inputs, second: number): [TensorType, TensorType] {
  const a = expectType(node, 0, "float32", "float16");
  return [a, expectType(node, second, a.type)];
}

/** [..., M, K] x [..., K, N] -> [..., M, N] */
function matmulShape(node: Inputs, a: readonly Dim[], b: readonly Dim[]): Dim[] {
  if (a.length < 2 || b.length < 2) throw fail(node, `expected matrices, got ${formatShape(a)} and ${formatShape(b)}`);
  if (a.at(-1) !== b.at(-2)) {
    throw fail(node, `${formatShape(a)} x ${formatShape(b)}: inner sizes ${a.at(-1)} and ${b.at(-2)} differ`);
  }
  const batch = broadcastShapes(a.slice(0, -2), b.slice(0, -2), node.where);
  return [...batch, dimAt(a, a.length - 2), dimAt(b, b.length - 1)];
}

/** Operators that reduce some axes, which are input 1 (since opset 18). */
const reduction: Rule = (node) => {
  const x = expectType(node, 0, "float32");
  const keep = (attribute(node, "keepdims", "int") ?? 1) === 1;
  const given = node.types[1] ? needConstant(node, 1) : x.shape.map((_, index) => index);
  const axes = given.map((axis) => axisOf(node, axis, x.shape.length));
  const shape = x.shape.flatMap((dim, index) => (axes.includes(index) ? (keep ? [1] : []) : [dim]));
  return [{ type: x.type, shape }];
};

function concat(node: Inputs): readonly TensorType[] {
  const first = input(node, 0);
  const axis = axisOf(node, attribute(node, "axis", "int") ?? 0, first.shape.length);
  let joined: Dim = 0;
  node.types.forEach((_, index) => {
    const part = input(node, index);
    sameTypes(node, first, part);
    const fits =
      part.shape.length === first.shape.length && part.shape.every((dim, at) => at === axis || dim === first.shape[at]);
    if (!fits)
      throw fail(
        node,
        `input ${index}: ${formatShape(part.shape)} cannot be concatenated with ${formatShape(first.shape)}`,
      );
    joined = addDims(joined, dimAt(part.shape, axis));
  });
  return [{ type: first.type, shape: first.shape.with(axis, joined) }];
}

function split(node: Inputs): readonly TensorType[] {
  const x = input(node, 0);
  const axis = axisOf(node, attribute(node, "axis", "int") ?? 0, x.shape.length);
  const total = dimAt(x.shape, axis);
  const count = attribute(node, "num_outputs", "int");
  if (count !== undefined) {
    if (typeof total !== "number" || total % count !== 0)
      throw fail(node, `${total} cannot be split into ${count} equal parts`);
    return Array.from({ length: count }, () => ({ type: x.type, shape: x.shape.with(axis, total / count) }));
  }
  const parts = node.constant(1);
  if (!parts) return partsOfUnknownSize(node, x, axis);
  const sum = parts.reduce((a, b) => a + b, 0);
  if (sum !== total) throw fail(node, `parts ${formatShape(parts)} do not add up to ${total}`);
  return parts.map((part) => ({ type: x.type, shape: x.shape.with(axis, part) }));
}

/** Parts whose sizes are computed at run time; their number is the length of the sizes input. */
function partsOfUnknownSize(node: Inputs, x: TensorType, axis: number): readonly TensorType[] {
  const count = expectType(node, 1, "int64").shape[0];
  if (typeof count !== "number") throw fail(node, "the number of parts is unknown");
  return Array.from({ length: count }, (_, index) => ({
    type: x.type,
    shape: x.shape.with(axis, unknownDim(`part${index}`)),
  }));
}

function reshape(node: Inputs): readonly TensorType[] {
  const x = input(node, 0);
  const target = node.constant(1);
  if (!target) return [{ type: x.type, shape: unknownSizes(node, 1) }];
  const open = target.filter((dim) => dim === -1).length;
  if (open > 1) throw fail(node, "expected at most one size of -1");
  if (target.some((dim, index) => dim < -1 || (dim === 0 && index >= x.shape.length))) {
    throw fail(node, `${formatShape(target)} is not a valid shape for ${formatShape(x.shape)}`);
  }
  const copied = target.map((dim, index) => (dim === 0 ? dimAt(x.shape, index) : dim));
  const known = copied.filter((dim) => dim !== -1);
  const rest = remainingDim(x.shape, known, node.where);
  if (open === 0 && rest !== 1) {
    throw fail(node, `${formatShape(x.shape)} cannot be reshaped to ${formatShape(copied)}`);
  }
  return [{ type: x.type, shape: copied.map((dim) => (dim === -1 ? rest : dim)) }];
}

function transpose(node: Inputs): readonly TensorType[] {
  const x = input(node, 0);
  const order = attribute(node, "perm", "ints") ?? x.shape.map((_, index) => x.shape.length - 1 - index);
  if ([...order].sort((a, b) => a - b).some((axis, index) => axis !== index) || order.length !== x.shape.length) {
    throw fail(node, `perm ${formatShape(order)} is not a permutation of ${x.shape.length} axes`);
  }
  return [{ type: x.type, shape: order.map((axis) => dimAt(x.shape, axis)) }];
}

/** Starts, ends, axes and steps are inputs 1 to 4. They must be constants, so that shapes remain known. */
function slice(node: Inputs): readonly TensorType[] {
  const x = input(node, 0);
  const [starts, ends, axes] = [needConstant(node, 1), needConstant(node, 2), needConstant(node, 3)];
  if (node.types[4] && needConstant(node, 4).some((step) => step !== 1))
    throw fail(node, "steps other than 1 are not supported");
  const shape = [...x.shape];
  axes.forEach((given, index) => {
    const axis = axisOf(node, given, shape.length);
    shape[axis] = slicedDim(node, dimAt(shape, axis), starts[index] ?? 0, ends[index] ?? 0);
  });
  return [{ type: x.type, shape }];
}

function slicedDim(node: Inputs, dim: Dim, start: number, end: number): Dim {
  if (typeof dim === "number") {
    const at = (index: number) => Math.min(Math.max(index < 0 ? index + dim : index, 0), dim);
    return Math.max(0, at(end) - at(start));
  }
  const sameSide = start < 0 === end < 0;
  if (sameSide && end > start && end < 2 ** 31) return end - start;
  if (start >= 0 && end >= 2 ** 31) return addDims(dim, -start);
  if (start >= 0 && end < 0) return addDims(dim, end - start);
  if (start < 0 && end >= 2 ** 31) return -start;
  throw fail(node, `cannot infer the slice from ${start} to ${end} of an axis of unknown size ${dim}`);
}

function gather(node: Inputs): readonly TensorType[] {
  const [data, indices] = [input(node, 0), expectType(node, 1, "int64", "int32")];
  const axis = axisOf(node, attribute(node, "axis", "int") ?? 0, data.shape.length);
  return [
    {
      type: data.type,
      shape: [...data.shape.slice(0, axis), ...indices.shape, ...data.shape.slice(axis + 1)],
    },
  ];
}

function unsqueeze(node: Inputs): readonly TensorType[] {
  const x = input(node, 0);
  const given = needConstant(node, 1);
  const rank = x.shape.length + given.length;
  const axes = given.map((axis) => axisOf(node, axis, rank));
  if (new Set(axes).size < axes.length) throw fail(node, `axes ${formatShape(given)} repeat`);
  const rest = [...x.shape];
  return [
    {
      type: x.type,
      shape: Array.from({ length: rank }, (_, i) => (axes.includes(i) ? 1 : (rest.shift() ?? 1))),
    },
  ];
}

function squeeze(node: Inputs): readonly TensorType[] {
  const x = input(node, 0);
  const axes = needConstant(node, 1).map((axis) => axisOf(node, axis, x.shape.length));
  for (const axis of axes) if (x.shape[axis] !== 1) throw fail(node, `axis ${axis} has size ${x.shape[axis]}`);
  return [{ type: x.type, shape: x.shape.filter((_, index) => !axes.includes(index)) }];
}

function normalization(node: Inputs): readonly TensorType[] {
  const x = expectType(node, 0, "float32");
  for (const index of node.types[2] ? [1, 2] : [1]) {
    const part = expectType(node, index, "float32");
    if (part.shape.length !== 1 || part.shape[0] !== x.shape.at(-1)) {
      throw fail(node, `input ${index}: expected [${x.shape.at(-1)}], got ${formatShape(part.shape)}`);
    }
  }
  // Mean and inverse standard deviation of each vector are optional outputs.
  const perVector: TensorType = { type: "float32", shape: x.shape.with(-1, 1) };
  return [x, perVector, perVector];
}

/** A [M, K] or its transpose, times B [K, N] or its transpose, plus C. */
function gemm(node: Inputs): readonly TensorType[] {
  const flip = (type: TensorType, name: string) =>
    attribute(node, name, "int") === 1 ? type.shape.toReversed() : type.shape;
  const [a, b] = factors(node, 1);
  if (a.shape.length !== 2 || b.shape.length !== 2) {
    throw fail(node, `expected two matrices, got ${formatShape(a.shape)} and ${formatShape(b.shape)}`);
  }
  const shape = matmulShape(node, flip(a, "transA"), flip(b, "transB"));
  if (node.types[2] && !repeatsTo(expectType(node, 2, a.type).shape, shape)) {
    throw fail(node, `input 2: ${formatShape(input(node, 2).shape)} cannot be broadcast to ${formatShape(shape)}`);
  }
  return [{ type: a.type, shape }];
}

/** Whether `from` can be broadcast to `to`. */
function repeatsTo(from: readonly Dim[], to: readonly Dim[]): boolean {
  const missing = to.length - from.length;
  return missing >= 0 && from.every((dim, axis) => dim === 1 || dim === to[axis + missing]);
}

/** A [..., K] times B, packed in blocks of K -> [..., N]. */
function matmulNBits(node: Inputs): readonly TensorType[] {
  const [a, { shape: scales }] = factors(node, 2);
  const [k, n] = [attribute(node, "K", "int"), attribute(node, "N", "int")];
  const [bits = 4, block = 0] = [attribute(node, "bits", "int"), attribute(node, "block_size", "int")];
  if (k === undefined || n === undefined || a.shape.at(-1) !== k)
    throw fail(node, `expected rows of ${k}, got ${formatShape(a.shape)}`);
  const blocks = Math.ceil(k / block);
  const packed = [n, blocks, (block * bits) / 8];
  const values = expectType(node, 1, "uint8").shape;
  if (!sameShape(values, packed))
    throw fail(node, `input 1: expected ${formatShape(packed)}, got ${formatShape(values)}`);
  if (!sameShape(scales, [n * blocks]))
    throw fail(node, `input 2: expected [${n * blocks}], got ${formatShape(scales)}`);
  return [{ type: a.type, shape: a.shape.with(-1, n) }];
}

function expand(node: Inputs): readonly TensorType[] {
  const x = input(node, 0);
  const target = node.constant(1);
  if (target) return [{ type: x.type, shape: broadcastShapes(x.shape, target, node.where) }];
  const sizes = unknownSizes(node, 1);
  const extra = sizes.length - x.shape.length;
  if (extra < 0) throw fail(node, `expected at least ${x.shape.length} sizes, got ${sizes.length}`);
  return [
    {
      type: x.type,
      shape: sizes.map((size, axis) => ((x.shape[axis - extra] ?? 1) === 1 ? size : dimAt(x.shape, axis - extra))),
    },
  ];
}

/** Unknown sizes, one for each entry of a shape input. */
function unknownSizes(node: Inputs, index: number): readonly Dim[] {
  const rank = expectType(node, index, "int64").shape[0];
  if (typeof rank !== "number") throw fail(node, "the number of axes is unknown");
  return Array.from({ length: rank }, (_, axis) => unknownDim(`size${axis}`));
}

/** The sizes of axes start (inclusive) to end (exclusive), as int64. */
function shapeOf(node: Inputs): readonly TensorType[] {
  const { shape } = input(node, 0);
  const part = shape.slice(attribute(node, "start", "int") ?? 0, attribute(node, "end", "int") ?? shape.length);
  return [{ type: "int64", shape: [part.length] }];
}

/** Pads with zeros: input 1 contains the counts before every axis, followed by the counts after every axis. */
function pad(node: Inputs): readonly TensorType[] {
  const x = input(node, 0);
  const pads = needConstant(node, 1);
  if (pads.length !== 2 * x.shape.length || pads.some((pad) => pad < 0)) {
    throw fail(node, `expected two non-negative numbers for each of ${x.shape.length} axes, got ${formatShape(pads)}`);
  }
  const shape = x.shape.map((dim, axis) => addDims(dim, (pads[axis] ?? 0) + (pads[axis + x.shape.length] ?? 0)));
  return [{ type: x.type, shape }];
}

/** A [..., M, K] x B [..., K, N]; the last two axes of either may be swapped. */
function fusedMatMul(node: Inputs): readonly TensorType[] {
  const flip = (type: TensorType, name: string) =>
    attribute(node, name, "int") === 1
      ? [...type.shape.slice(0, -2), dimAt(type.shape, type.shape.length - 1), dimAt(type.shape, type.shape.length - 2)]
      : type.shape;
  const [a, b] = [expectType(node, 0, "float32"), expectType(node, 1, "float32")];
  return [{ type: a.type, shape: matmulShape(node, flip(a, "transA"), flip(b, "transB")) }];
}

/** x [B, heads, T, n], rows of its tokens, and cosines and sines [N, r / 2] of the r rotated elements -> x. */
function rotaryEmbedding(node: Inputs): readonly TensorType[] {
  const [x, rows] = [expectType(node, 0, "float32"), expectType(node, 1, "int64")];
  const tables = [expectType(node, 2, "float32"), expectType(node, 3, "float32")];
  const [batch, , tokens, size] = x.shape;
  const rotated = attribute(node, "rotary_embedding_dim", "int") ?? size;
  const fits =
    x.shape.length === 4 &&
    Number(rotated) <= Number(size) &&
    tables.every(({ shape: [, half] }) => 2 * Number(half) === rotated);
  if (fits && (sameShape(rows.shape, [1]) || sameShape(rows.shape, [batch ?? 1, tokens ?? 1]))) return [x];
  const got = [x, rows, ...tables].map(({ shape }) => formatShape(shape)).join(", ");
  throw fail(node, `expected [B, heads, T, n], [B, T] and twice [N, n / 2], got ${got}`);
}

/** Scores [N, V] and target ids [N] -> the loss of each row [N] and all log-probabilities [N, V]. */
function crossEntropy(node: Inputs): readonly TensorType[] {
  const [scores, ids] = [expectType(node, 0, "float32"), expectType(node, 1, "int64")];
  if (scores.shape.length !== 2 || ids.shape.length !== 1 || scores.shape[0] !== ids.shape[0]) {
    throw fail(node, `expected [N, V] and [N], got ${formatShape(scores.shape)} and ${formatShape(ids.shape)}`);
  }
  return [{ type: scores.type, shape: ids.shape }, scores];
}

function topK(node: Inputs): readonly TensorType[] {
  const [x, count] = [input(node, 0), expectType(node, 1, "int64")];
  if (x.shape.length === 0 || !sameShape(count.shape, [1])) {
    throw fail(node, `expected an axis and a count [1], got ${formatShape(x.shape)} and ${formatShape(count.shape)}`);
  }
  const [k = unknownDim("top")] = node.constant(1) ?? [];
  const all = dimAt(x.shape, x.shape.length - 1);
  if (typeof k === "number" && (k < 0 || (typeof all === "number" && k > all)))
    throw fail(node, `cannot take the top ${k} of ${all}`);
  const shape = x.shape.with(-1, k);
  return [
    { type: x.type, shape },
    { type: "int64", shape },
  ];
}

/** Data and indices of the same rank -> the shape of the indices. */
function gatherElements(node: Inputs): readonly TensorType[] {
  const [data, indices] = [input(node, 0), expectType(node, 1, "int64", "int32")];
  axisOf(node, attribute(node, "axis", "int") ?? 0, data.shape.length);
  if (data.shape.length !== indices.shape.length) {
    throw fail(node, `${formatShape(data.shape)} and indices ${formatShape(indices.shape)} differ in rank`);
  }
  return [{ type: data.type, shape: indices.shape }];
}

/** Data, indices of the same rank, and one update per index -> the shape of the data. */
function scatterElements(node: Inputs): readonly TensorType[] {
  const [{ shape }] = gatherElements(node) as [TensorType];
  const [data, updates] = [input(node, 0), input(node, 2)];
  sameTypes(node, data, updates);
  if (!sameShape(shape, updates.shape)) {
    throw fail(node, `updates ${formatShape(updates.shape)} and indices ${formatShape(shape)} differ in shape`);
  }
  return [data];
}

function where(node: Inputs): readonly TensorType[] {
  const condition = expectType(node, 0, "bool");
  const [a, b] = [input(node, 1), input(node, 2)];
  sameTypes(node, a, b);
  const shape = broadcastShapes(condition.shape, broadcastShapes(a.shape, b.shape, node.where), node.where);
  return [{ type: a.type, shape }];
}

/** ONNX's numbers of the element types (onnx.proto, TensorProto.DataType). */
export const onnxTypes: Readonly<Record<ElementType, number>> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int16: 5,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  bfloat16: 16,
};

export function elementTypeOf(onnxType: number): ElementType | undefined {
  return (Object.keys(onnxTypes) as ElementType[]).find((name) => onnxTypes[name] === onnxType);
}

function cast(node: Inputs): readonly TensorType[] {
  const type = elementTypeOf(attribute(node, "to", "int") ?? 0);
  if (!type) throw fail(node, "attribute to: unknown element type");
  return [{ type, shape: input(node, 0).shape }];
}

const rules: Readonly<Record<string, Rule>> = {
  Add: binary,
  And: logical,
  Cast: cast,
  Clip: unary,
  Concat: concat,
  Cos: angleUnary,
  CumSum: floatUnary,
  Div: binary,
  DynamicQuantizeLinear: (node) => [
    { type: "uint8", shape: expectType(node, 0, "float32").shape },
    { type: "float32", shape: [] },
    { type: "uint8", shape: [] },
  ],
  Equal: comparison,
  Erf: floatUnary,
  Exp: floatUnary,
  Expand: expand,
  Gather: gather,
  GatherElements: gatherElements,
  Gelu: floatUnary,
  Gemm: gemm,
  GreaterOrEqual: comparison,
  Identity: unary,
  LayerNormalization: normalization,
  Less: comparison,
  Log: floatUnary,
  MatMul: (node) => {
    const [a, b] = factors(node, 1);
    return [{ type: a.type, shape: matmulShape(node, a.shape, b.shape) }];
  },
  MatMulInteger: (node) => {
    const [a, b] = [expectType(node, 0, "uint8", "int8"), expectType(node, 1, "uint8", "int8")];
    return [{ type: "int32", shape: matmulShape(node, a.shape, b.shape) }];
  },
  Max: binary,
  Min: binary,
  Mul: binary,
  Neg: unary,
  Not: (node) => [expectType(node, 0, "bool")],
  Or: logical,
  Pad: pad,
  Pow: binary,
  Range: (node) => [{ type: input(node, 0).type, shape: [unknownDim("count")] }],
  Reciprocal: floatUnary,
  ReduceMean: reduction,
  ReduceSum: reduction,
  Relu: floatUnary,
  Reshape: reshape,
  ScatterElements: scatterElements,
  Shape: shapeOf,
  Sigmoid: floatUnary,
  Sin: angleUnary,
  Size: () => [{ type: "int64", shape: [] }],
  Slice: slice,
  Softmax: floatUnary,
  SoftmaxCrossEntropyLoss: crossEntropy,
  Split: split,
  Sqrt: floatUnary,
  Squeeze: squeeze,
  Sub: binary,
  Tanh: floatUnary,
  TopK: topK,
  Transpose: transpose,
  Unsqueeze: unsqueeze,
  Where: where,
  "com.microsoft.FusedMatMul": fusedMatMul,
  "com.microsoft.MatMulNBits": matmulNBits,
  "com.microsoft.RotaryEmbedding": rotaryEmbedding,
};

/** All operators that a graph can use. */
export const operatorNames: readonly string[] = Object.keys(rules);

/** Types and shapes of an operator's outputs. @throws `invalid_graph`, naming the node and the cause */
export function inferTypes(operator: string, node: Inputs): readonly TensorType[] {
  const rule = Object.hasOwn(rules, operator) ? rules[operator] : undefined;
  if (!rule) throw new EpalmError("invalid_graph", `${node.where}: no rule for operator ${operator}`);
  return rule(node);
}
