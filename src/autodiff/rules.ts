import { EpalmError } from "../core/errors.js";
import type { GraphBuilder } from "../graph/builder.js";
import type { Dim, Node, Value } from "../graph/ir.js";
import type { Backward, Rule } from "./rule.js";

/**
 * One gradient rule per operator: computes the gradients of the inputs from those of the outputs. `dy` is the
 * gradient of the first output; x and y are the first input and output.
 */

interface Simple {
  readonly g: GraphBuilder;
  readonly x: Value;
  readonly y: Value;
  readonly dy: Value;
}

/** A rule for operators with one input and one output. */
function unary(rule: (parts: Simple) => Value): Rule {
  return (backward) => {
    const [x, y] = [first(backward.inputs), first(backward.outputs)];
    return [rule({ g: backward.g, x, y, dy: upstream(backward) })];
  };
}

interface Binary extends Simple {
  readonly a: Value;
  readonly b: Value;
}

/** A rule for operators with two inputs; the gradient of each is computed only if it is needed. */
function binary(left: (parts: Binary) => Value, right: (parts: Binary) => Value): Rule {
  return (backward) => {
    const { g, wants } = backward;
    const [a, b] = [at(backward.inputs, 0), at(backward.inputs, 1)];
    const parts = { g, a, b, x: a, y: first(backward.outputs), dy: upstream(backward) };
    return [wants[0] ? left(parts) : undefined, wants[1] ? right(parts) : undefined];
  };
}

export const rules: Readonly<Record<string, Rule>> = {
  Add: binary(
    ({ dy }) => dy,
    ({ dy }) => dy,
  ),
  Concat: concat,
  Cos: unary(({ g, x, dy }) => g.negate(g.multiply(dy, g.sine(x)))),
  Div: binary(
    ({ g, b, dy }) => g.divide(dy, b),
    ({ g, b, y, dy }) => g.negate(g.divide(g.multiply(dy, y), b)),
  ),
  Erf: unary(({ g, x, dy }) => {
    const slope = g.multiply(g.number(2 / Math.sqrt(Math.PI)), g.exponential(g.negate(g.multiply(x, x))));
    return g.multiply(dy, slope);
  }),
  Exp: unary(({ g, y, dy }) => g.multiply(dy, y)),
  Expand: (backward) => [upstream(backward)],
  Gather: gather,
  GatherElements: gatherElements,
  Gelu: gelu,
  Gemm: gemm,
  Identity: unary(({ dy }) => dy),
  LayerNormalization: layerNormalization,
  Log: unary(({ g, x, dy }) => g.divide(dy, x)),
  MatMul: matmul,
  Mul: binary(
    ({ g, b, dy }) => g.multiply(dy, b),
    ({ g, a, dy }) => g.multiply(dy, a),
  ),
  Neg: unary(({ g, dy }) => g.negate(dy)),
  Pow: binary(
    ({ g, a, b, dy }) => g.multiply(dy, g.multiply(b, g.power(a, g.subtract(b, g.number(1))))),
    ({ g, a, y, dy }) => g.multiply(dy, g.multiply(y, g.logarithm(a))),
  ),
  Reciprocal: unary(({ g, y, dy }) => g.negate(g.multiply(dy, g.multiply(y, y)))),
  ReduceMean: reduceMean,
  ReduceSum: reduceSum,
  Relu: unary(({ g, y, dy }) => g.where(g.less(g.number(0), y), dy, g.number(0))),
  Reshape: (backward) => [reshapedTo(backward.g, upstream(backward), first(backward.inputs))],
  Sigmoid: unary(({ g, y, dy }) => g.multiply(dy, g.multiply(y, g.subtract(g.number(1), y)))),
  Sin: unary(({ g, x, dy }) => g.multiply(dy, g.cosine(x))),
  Slice: slice,
  Softmax: softmax,
  SoftmaxCrossEntropyLoss: crossEntropy,
  Split: split,
  Sqrt: unary(({ g, y, dy }) => g.divide(dy, g.multiply(g.number(2), y))),
  Squeeze: (backward) => [reshapedTo(backward.g, upstream(backward), first(backward.inputs))],
  Sub: binary(
    ({ dy }) => dy,
    ({ g, dy }) => g.negate(dy),
  ),
  Tanh: unary(({ g, y, dy }) => g.multiply(dy, g.subtract(g.number(1), g.multiply(y, y)))),
  Transpose: transpose,
  Unsqueeze: (backward) => [reshapedTo(backward.g, upstream(backward), first(backward.inputs))],
  Where: where,
  "com.microsoft.RotaryEmbedding": rotaryEmbedding,
};

// Products.

/** dA = dY B^T, dB = A^T dY. If only A has batch axes, summing over them is one product over all rows. */
function matmul(backward: Backward): readonly (Value | undefined)[] {
  const { g, wants } = backward;
  const [a, b, dy] = [at(backward.inputs, 0), at(backward.inputs, 1), upstream(backward)];
  const da = wants[0] ? g.fusedMatmul(dy, b, { b: true }) : undefined;
  if (!wants[1]) return [da, undefined];
  const isWeight = b.shape.length === 2 && b.shape.every((dim) => typeof dim === "number");
  if (!isWeight) return [da, g.fusedMatmul(a, dy, { a: true })];
  const rows = (x: Value) => g.reshape(x, [-1, numberAt(x, -1)]);
  return [da, g.fusedMatmul(rows(a), rows(dy), { a: true })];
}

/** Rotates the gradient back. */
function rotaryEmbedding(backward: Backward): readonly (Value | undefined)[] {
  const { g, node, inputs } = backward;
  const [rows, cosines, sines] = [at(inputs, 1), at(inputs, 2), at(inputs, 3)];
  const interleaved = node.attributes.interleaved?.value === 1;
  return [g.rotaryEmbedding(upstream(backward), rows, cosines, g.negate(sines), interleaved)];
}

/** Covers only a b^T without a third input, the form that output heads use. */
function gemm(backward: Backward): readonly (Value | undefined)[] {
  const { g, node, wants } = backward;
  const { transA, transB, alpha } = node.attributes;
  const isHead = transB?.value === 1 && !transA?.value && (alpha?.value ?? 1) === 1 && node.inputs.length === 2;
  if (!isHead) throw unsupported(node, "only a b^T has a gradient rule");
  const [a, b, dy] = [at(backward.inputs, 0), at(backward.inputs, 1), upstream(backward)];
  return [wants[0] ? g.matmul(dy, b) : undefined, wants[1] ? g.fusedMatmul(dy, a, { a: true }) : undefined];
}

// Normalisation, activation, loss.

/** With n = (x - mean) / std: dx = (dn - mean(dn) - n mean(dn n)) / std. */
function layerNormalization(backward: Backward): readonly (Value | undefined)[] {
  const { g, node, wants } = backward;
  const [x, scale, dy] = [at(backward.inputs, 0), at(backward.inputs, 1), upstream(backward)];
  if (axisOf(node.attributes.axis?.value ?? -1, x) !== x.shape.length - 1)
    throw unsupported(node, "has a gradient rule only for the last axis");
  const inverse = backward.extraOutput(2);
  const normed = g.multiply(g.subtract(x, backward.extraOutput(1)), inverse);
  const dNormed = g.multiply(dy, scale);
  const centred = () => {
    const along = g.multiply(normed, g.mean(g.multiply(dNormed, normed), -1));
    return g.multiply(g.subtract(g.subtract(dNormed, g.mean(dNormed, -1)), along), inverse);
  };
  return [wants[0] ? centred() : undefined, wants[1] ? g.multiply(dy, normed) : undefined, wants[2] ? dy : undefined];
}

/** y (dy - sum(dy y)) */
function softmax(backward: Backward): readonly (Value | undefined)[] {
  const { g, node } = backward;
  const y = first(backward.outputs);
  const axis = axisOf(node.attributes.axis?.value ?? -1, y);
  const weighted = g.multiply(upstream(backward), y);
  return [g.subtract(weighted, g.multiply(y, g.sum(weighted, [axis], true)))];
}

function gelu({ g, node, inputs, upstream: [dy] }: Backward): readonly (Value | undefined)[] {
  const x = first(inputs);
  const slope = node.attributes.approximate?.value === "tanh" ? tanhGeluSlope(g, x) : exactGeluSlope(g, x);
  return [g.multiply(dy as Value, slope)];
}

/** Derivative of x Phi(x): Phi(x) + x phi(x). */
function exactGeluSlope(g: GraphBuilder, x: Value): Value {
  const below = g.multiply(g.number(0.5), g.add(g.number(1), g.erf(g.multiply(x, g.number(Math.SQRT1_2)))));
  const density = g.multiply(
    g.exponential(g.multiply(g.number(-0.5), g.multiply(x, x))),
    g.number(1 / Math.sqrt(2 * Math.PI)),
  );
  return g.add(below, g.multiply(x, density));
}

/** Derivative of x (1 + t) / 2 with t = tanh(c (x + k x^3)). */
function tanhGeluSlope(g: GraphBuilder, x: Value): Value {
  const [c, k] = [Math.sqrt(2 / Math.PI), 0.044715];
  const square = g.multiply(x, x);
  const inner = g.multiply(g.multiply(x, g.number(c)), g.add(g.number(1), g.multiply(g.number(k), square)));
  const t = g.tanh(inner);
  const innerSlope = g.multiply(g.number(c), g.add(g.number(1), g.multiply(g.number(3 * k), square)));
  const tSlope = g.multiply(g.subtract(g.number(1), g.multiply(t, t)), innerSlope);
  return g.multiply(g.number(0.5), g.add(g.add(g.number(1), t), g.multiply(x, tSlope)));
}

/**
 * For each row, its probabilities minus one at its target. The log-probabilities are an output too (label smoothing
 * averages them), with the gradient of a log-softmax.
 */
function crossEntropy(backward: Backward): readonly (Value | undefined)[] {
  const {
    g,
    upstream: [dLoss, dLogs],
  } = backward;
  const ids = at(backward.inputs, 1);
  const probabilities = g.exponential(backward.extraOutput(1));
  const parts: Value[] = [];
  if (dLoss) {
    const perRow = g.unsqueeze(dLoss, 1);
    const pulled = g.multiply(probabilities, perRow);
    parts.push(g.scatterAddColumns(pulled, g.unsqueeze(ids, 1), g.negate(perRow)));
  }
  if (dLogs) parts.push(g.subtract(dLogs, g.multiply(probabilities, g.sum(dLogs, [-1], true))));
  const [one, two] = parts;
  return [one && two ? g.add(one, two) : one];
}

// Reductions.

function reduceSum(backward: Backward): readonly (Value | undefined)[] {
  return [spreadBack(backward, upstream(backward))];
}

function reduceMean(backward: Backward): readonly (Value | undefined)[] {
  const { g, inputs, outputs } = backward;
  const spread = spreadBack(backward, upstream(backward));
  const count = (value: Value) => g.elementCount(value);
  const ratio = g.divide(count(first(outputs)), count(first(inputs)));
  return [g.multiply(spread, ratio)];
}

/** Repeats the gradient of a sum, which is the same for each of its terms. */
function spreadBack({ g, node, inputs }: Backward, dy: Value): Value {
  const x = first(inputs);
  const keeps = node.attributes.keepdims?.value !== 0;
  const axes = (inputs[1] && g.constantOf(inputs[1])) ?? x.shape.map((_, axis) => axis);
  const positive = axes.map((axis) => (axis < 0 ? axis + x.shape.length : axis));
  return g.expandLike(keeps ? dy : g.unsqueeze(dy, ...positive), x);
}

// Shapes and positions.

function transpose({ g, node, inputs, upstream: [dy] }: Backward): readonly (Value | undefined)[] {
  const axes = first(inputs).shape.map((_, axis) => axis);
  const order = (node.attributes.perm?.value ?? axes.toReversed()) as readonly number[];
  const back = axes.map((axis) => order.indexOf(axis));
  return [g.transpose(dy as Value, back)];
}

/** Reshapes to the shape of `like`. Its known sizes are sufficient in all but rare cases. */
function reshapedTo(g: GraphBuilder, dy: Value, like: Value): Value {
  const open = like.shape.filter((dim, axis) => typeof dim === "string" && dim !== dy.shape[axis]);
  if (open.length > 1) return g.reshapeLike(dy, like);
  return g.reshape(
    dy,
    like.shape.map((dim, axis) => (typeof dim === "number" ? dim : dim === dy.shape[axis] ? 0 : -1)),
  );
}

/**
 * Slices the gradient into those of the parts. One part may have an unknown size; the parts after it are located from
 * the end of the axis.
 */
function concat(backward: Backward): readonly (Value | undefined)[] {
  const { g, inputs, node, wants } = backward;
  const dy = upstream(backward);
  const axis = axisOf(node.attributes.axis?.value, dy);
  const sizes = inputs.map((input) => input.shape[axis]);
  const unknown = sizes.findIndex((size) => typeof size === "string");
  if (sizes.filter((size) => typeof size === "string").length > 1) {
    throw unsupported(node, "has no gradient rule for several parts of unknown size");
  }
  const sum = (list: readonly unknown[]) => list.reduce<number>((total, size) => total + Number(size), 0);
  return inputs.map((_, index) => {
    if (!wants[index]) return undefined;
    const fromStart = unknown < 0 || index <= unknown;
    const start = fromStart ? sum(sizes.slice(0, index)) : -sum(sizes.slice(index));
    const after = sum(sizes.slice(index + 1).filter((size) => typeof size === "number"));
    if (index === unknown) return after === 0 ? g.slice(dy, axis, start) : g.slice(dy, axis, start, -after);
    if (fromStart) return g.slice(dy, axis, start, start + Number(sizes[index]));
    return after === 0 ? g.slice(dy, axis, start) : g.slice(dy, axis, start, -after);
  });
}

function split(backward: Backward): readonly (Value | undefined)[] {
  const { g, node, outputs, upstream: gradients } = backward;
  const axis = axisOf(node.attributes.axis?.value, first(backward.inputs));
  const parts = outputs.map((output, index) => gradients[index] ?? zerosLike(g, output));
  return [g.concat(parts, axis)];
}

/** Elements that the slice left out have zero gradients, along each axis that was cut. */
function slice(backward: Backward): readonly (Value | undefined)[] {
  const { g, inputs, node } = backward;
  const [x, starts = [], ends = [], axes = []] = [
    first(inputs),
    ...inputs.slice(1).map((input) => g.constantOf(input)),
  ];
  const whole = axes.reduce((part, given, index) => {
    const axis = axisOf(given, x);
    const cut = cutAway(x.shape[axis] ?? 1, starts[index] ?? 0, ends[index] ?? 0);
    if (!cut)
      throw unsupported(node, `has no gradient rule for this slice of an axis of unknown size ${x.shape[axis]}`);
    return g.pad(part, axis, cut.before, cut.after);
  }, upstream(backward));
  return [whole];
}

/** How many elements a slice leaves out on either side of an axis; undefined if they are known only at run time. */
function cutAway(size: Dim, start: number, end: number): { before: number; after: number } | undefined {
  const toTheEnd = end >= 2 ** 31;
  if (typeof size === "string") {
    return start < 0 || (end >= 0 && !toTheEnd) ? undefined : { before: start, after: toTheEnd ? 0 : -end };
  }
  const place = (index: number) => Math.min(Math.max(index < 0 ? index + size : index, 0), size);
  return { before: place(start), after: size - Math.max(place(start), place(end)) };
}

/** The gradients of rows that were gathered more than once are added. */
function gather(backward: Backward): readonly (Value | undefined)[] {
  const { g, node } = backward;
  const [data, indices] = [first(backward.inputs), at(backward.inputs, 1)];
  if (axisOf(node.attributes.axis?.value, data) !== 0)
    throw unsupported(node, "has a gradient rule only for the first axis");
  const inner = data.shape.slice(1);
  const flat = indices.shape.length === 1;
  if (!flat && inner.some((dim) => typeof dim === "string"))
    throw unsupported(node, "has no gradient rule for rows of unknown size with indices of several axes");
  const rows = flat ? upstream(backward) : g.reshape(upstream(backward), [-1, ...inner.map(Number)]);
  const places = flat ? indices : g.reshape(indices, [-1]);
  return [g.scatterAddRows(zerosLike(g, data), places, rows)];
}

function gatherElements(backward: Backward): readonly (Value | undefined)[] {
  const { g, node } = backward;
  const [data, indices] = [first(backward.inputs), at(backward.inputs, 1)];
  if (data.shape.length !== 2 || axisOf(node.attributes.axis?.value, data) !== 1)
    throw unsupported(node, "has a gradient rule only for columns of a matrix");
  return [g.scatterAddColumns(zerosLike(g, data), indices, upstream(backward))];
}

function where(backward: Backward): readonly (Value | undefined)[] {
  const { g, inputs, wants } = backward;
  const [condition, dy] = [first(inputs), upstream(backward)];
  const zero = g.number(0);
  return [
    undefined,
    wants[1] ? g.where(condition, dy, zero) : undefined,
    wants[2] ? g.where(condition, zero, dy) : undefined,
  ];
}

function zerosLike(g: GraphBuilder, like: Value): Value {
  return g.expandLike(g.number(0), like);
}

/** The error for a form of an operator that its rule does not cover. */
function unsupported(node: Node, what: string): EpalmError {
  return new EpalmError("missing_gradient", `${node.op} of node '${node.name}': ${what}`);
}

// Access to a node's values, whose number the forward checker has verified.

function at(values: readonly Value[], index: number): Value {
  return values[index] as Value;
}

function first(values: readonly Value[]): Value {
  return at(values, 0);
}

function upstream(backward: Backward): Value {
  return backward.upstream[0] as Value;
}

function numberAt(x: Value, axis: number): number {
  return Number(x.shape.at(axis));
}

function axisOf(axis: unknown, x: Value): number {
  const given = Number(axis ?? 0);
  return given < 0 ? given + x.shape.length : given;
}
