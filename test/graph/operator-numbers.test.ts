import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { GraphBuilder } from "../../src/graph/builder.js";
import { type Attributes, int, type Value } from "../../src/graph/ir.js";
import { operatorNames } from "../../src/graph/operators.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { booleans, bytes, floats, graphOf, integers, numbersOf, runGraph } from "../support/small-graphs.js";

/** An operator on a few numbers, and the result of a plain computation. */
interface Example {
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly build: (g: GraphBuilder, inputs: Inputs) => readonly Value[];
  readonly expected: readonly (readonly number[])[];
}

type Inputs = Record<"a" | "b" | "c", Value>;

/** Largest absolute difference; values are near 1. */
const TOLERANCE = 2e-6;

const A = [1, -2, 0.5, 3, 0.25, -1];
const B = [2, 0.5, -1];
const matrix = floats([2, 3], A);
const row = floats([3], B);

const unary = (build: (g: GraphBuilder, x: Value) => Value, compute: (x: number) => number, data = A): Example => ({
  inputs: { a: floats([2, 3], data) },
  build: (g, { a }) => [build(g, a)],
  expected: [data.map(compute)],
});

const POSITIVE = A.map(Math.abs);

/** Applies an operator to A [2, 3] and the row B [3]. */
const binary = (
  build: (g: GraphBuilder, a: Value, b: Value) => Value,
  compute: (a: number, b: number) => number,
): Example => ({
  inputs: { a: matrix, b: row },
  build: (g, { a, b }) => [build(g, a, b)],
  expected: [A.map((x, i) => compute(x, B[i % 3] as number))],
});

const truths = booleans([4], [1, 1, 0, 0]);
const others = booleans([4], [1, 0, 1, 0]);
const logical = (build: (g: GraphBuilder, a: Value, b: Value) => Value, expected: readonly number[]): Example => ({
  inputs: { a: truths, b: others },
  build: (g, { a, b }) => [build(g, a, b)],
  expected: [expected],
});

const raw =
  (op: string, attributes: Attributes = {}, outputs = 1, domain: "" | "com.microsoft" = "") =>
  (g: GraphBuilder, { a, b, c }: Partial<Inputs>) =>
    g.operator(
      op,
      [a, b, c].flatMap((value) => value ?? []),
      attributes,
      outputs,
      domain,
    );

/** a [2, 3] x b [3, 2] */
const product = (a: readonly number[], b: readonly number[]) =>
  [0, 1].flatMap((m) =>
    [0, 1].map((n) => [0, 1, 2].reduce((sum, k) => sum + (a[m * 3 + k] ?? 0) * (b[k * 2 + n] ?? 0), 0)),
  );
const C = [0.5, 1, -1, 2, 3, -0.25];
const turnedC = [0.5, -1, 3, 1, 2, -0.25];

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const softmax = (x: readonly number[]) => {
  const sum = x.reduce((total, value) => total + Math.exp(value), 0);
  return x.map((value) => Math.exp(value) / sum);
};
const normed = (x: readonly number[]) => {
  const mean = x.reduce((a, b) => a + b, 0) / x.length;
  const variance = x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length;
  return x.map((value) => (value - mean) / Math.sqrt(variance + 1e-5));
};
const rows = <T>(x: readonly T[]) => [x.slice(0, 3), x.slice(3)];

const ERF_POINTS = [0, 0.5, -1, 2, 1, -0.5];
/** erf at these points, from a table (Abramowitz and Stegun, 7.1). */
const ERF = [0, 0.5204998778, -0.8427007929, 0.995322265, 0.8427007929, -0.5204998778];

const examples: Readonly<Record<string, readonly Example[]>> = {
  Add: [
    binary(
      (g, a, b) => g.add(a, b),
      (a, b) => a + b,
    ),
  ],
  Sub: [
    binary(
      (g, a, b) => g.subtract(a, b),
      (a, b) => a - b,
    ),
  ],
  Mul: [
    binary(
      (g, a, b) => g.multiply(a, b),
      (a, b) => a * b,
    ),
  ],
  Div: [
    binary(
      (g, a, b) => g.divide(a, b),
      (a, b) => a / b,
    ),
  ],
  Max: [binary((g, a, b) => g.maximum(a, b), Math.max)],
  Min: [binary((g, a, b) => g.minimum(a, b), Math.min)],
  Pow: [
    unary(
      (g, x) => g.power(x, g.number(3)),
      (x) => x ** 3,
    ),
  ],
  Less: [
    binary(
      (g, a, b) => g.less(a, b),
      (a, b) => Number(a < b),
    ),
  ],
  Equal: [
    binary(
      (g, a, b) => raw("Equal")(g, { a, b })[0] as Value,
      (a, b) => Number(a === b),
    ),
  ],
  GreaterOrEqual: [
    binary(
      (g, a, b) => raw("GreaterOrEqual")(g, { a, b })[0] as Value,
      (a, b) => Number(a >= b),
    ),
  ],
  And: [logical((g, a, b) => g.and(a, b), [1, 0, 0, 0])],
  Or: [logical((g, a, b) => g.or(a, b), [1, 1, 1, 0])],
  Not: [{ inputs: { a: truths }, build: (g, { a }) => [g.not(a)], expected: [[0, 0, 1, 1]] }],
  Where: [
    {
      inputs: { a: booleans([2, 1], [1, 0]), b: matrix, c: row },
      build: (g, { a, b, c }) => [g.where(a, b, c)],
      expected: [[...A.slice(0, 3), ...B]],
    },
  ],
  Neg: [
    unary(
      (g, x) => g.negate(x),
      (x) => -x,
    ),
  ],
  Sqrt: [unary((g, x) => g.squareRoot(x), Math.sqrt, POSITIVE)],
  Log: [unary((g, x) => g.logarithm(x), Math.log, POSITIVE)],
  Range: [
    {
      inputs: { a: matrix },
      build: (g, { a }) => [g.indexOfEach(a)],
      expected: [[0, 1, 2, 3, 4, 5]],
    },
  ],
  Reciprocal: [
    unary(
      (g, x) => g.reciprocal(x),
      (x) => 1 / x,
    ),
  ],
  Exp: [unary((g, x) => g.exponential(x), Math.exp)],
  Cos: [unary((g, x) => g.cosine(x), Math.cos)],
  Sin: [unary((g, x) => g.sine(x), Math.sin)],
  Tanh: [unary((g, x) => g.tanh(x), Math.tanh)],
  Sigmoid: [unary((g, x) => g.sigmoid(x), sigmoid)],
  Relu: [
    unary(
      (g, x) => g.relu(x),
      (x) => Math.max(x, 0),
    ),
  ],
  Erf: [
    unary(
      (g, x) => g.erf(x),
      (x) => ERF[ERF_POINTS.indexOf(x)] ?? 0,
      ERF_POINTS,
    ),
  ],
  Gelu: [
    unary(
      (g, x) => g.gelu(x, "none"),
      (x) => (x / 2) * (1 + (ERF[ERF_POINTS.indexOf(x / Math.SQRT2)] ?? 0)),
      ERF_POINTS.map((x) => x * Math.SQRT2),
    ),
    unary(
      (g, x) => g.gelu(x, "tanh"),
      (x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
    ),
  ],
  Clip: [
    {
      inputs: { a: matrix },
      build: (g, { a }) => g.operator("Clip", [a, g.number(-1), g.number(1)], {}),
      expected: [A.map((x) => Math.max(-1, Math.min(1, x)))],
    },
  ],
  Identity: [
    unary(
      (g, x) => raw("Identity")(g, { a: x })[0] as Value,
      (x) => x,
    ),
  ],
  Cast: [
    unary((g, x) => g.cast(x, "int64"), Math.trunc),
    unary(
      (g, x) => g.cast(x, "bool"),
      (x) => Number(x !== 0),
      [1, 0, -1, 0.5, 0, 2],
    ),
  ],
  Softmax: [{ inputs: { a: matrix }, build: (g, { a }) => [g.softmax(a)], expected: [rows(A).flatMap(softmax)] }],
  LayerNormalization: [
    {
      inputs: { a: matrix, b: row, c: floats([3], [1, 2, 3]) },
      build: (g, { a, b, c }) => [g.layerNorm(a, b, c, 1e-5)],
      expected: [rows(A).flatMap((x) => normed(x).map((value, i) => value * (B[i] ?? 0) + i + 1))],
    },
  ],
  ReduceMean: [{ inputs: { a: matrix }, build: (g, { a }) => [g.mean(a, -1)], expected: [[-0.5 / 3, 2.25 / 3]] }],
  ReduceSum: [
    { inputs: { a: matrix }, build: (g, { a }) => [g.sum(a, [0], false)], expected: [[4, -1.75, -0.5]] },
    { inputs: { a: matrix }, build: (g, { a }) => [g.sum(a, [0, 1], true)], expected: [[1.75]] },
  ],
  CumSum: [
    { inputs: { a: matrix }, build: (g, { a }) => [g.sumToTheEnd(a)], expected: [[-0.5, -1.5, 0.5, 2.25, -0.75, -1]] },
  ],
  SoftmaxCrossEntropyLoss: [
    {
      inputs: { a: matrix, b: integers([2], [1, 0]) },
      build: (g, { a, b }) => {
        const { loss, logProbabilities } = g.crossEntropy(a, b);
        return [loss, logProbabilities];
      },
      expected: [
        rows(A).map((x, i) => -Math.log(softmax(x)[1 - i] ?? 0)),
        rows(A).flatMap((x) => softmax(x).map(Math.log)),
      ],
    },
  ],
  TopK: [
    {
      inputs: { a: matrix, b: integers([1], [2]) },
      build: (g, { a, b }) => Object.values(g.topK(a, b)),
      expected: [
        [1, 0.5, 3, 0.25],
        [0, 2, 0, 1],
      ],
    },
  ],
  MatMul: [
    {
      inputs: { a: matrix, b: floats([3, 2], C) },
      build: (g, { a, b }) => [g.matmul(a, b)],
      expected: [product(A, C)],
    },
    {
      inputs: { a: floats([2, 1, 1, 3], A), b: floats([2, 3, 1], C) },
      build: (g, { a, b }) => [g.matmul(a, b)],
      expected: [rows(A).flatMap((x) => rows(C).map((y) => x.reduce((sum, v, k) => sum + v * (y[k] ?? 0), 0)))],
    },
  ],
  Gemm: [
    {
      inputs: { a: matrix, b: floats([2, 3], turnedC) },
      build: (g, { a, b }) => [g.matmulTransposed(a, b)],
      expected: [product(A, C)],
    },
    {
      inputs: { a: matrix, b: floats([3, 2], C), c: floats([2], [10, 20]) },
      build: raw("Gemm"),
      expected: [product(A, C).map((x, i) => x + (i % 2 === 0 ? 10 : 20))],
    },
  ],
  "com.microsoft.FusedMatMul": [
    {
      inputs: { a: floats([3, 2], [1, 3, -2, 0.25, 0.5, -1]), b: floats([2, 3], turnedC) },
      build: (g, { a, b }) => [g.fusedMatmul(a, b, { a: true, b: true })],
      expected: [product(A, C)],
    },
  ],
  "com.microsoft.MatMulNBits": [
    {
      // Column 0 counts -8, -7, -6 in steps of 0.5; column 1 is 7, 0, -8 in steps of 2.
      inputs: { a: floats([1, 3], [1, 10, 100]) },
      build: (g, { a }) => {
        const values = bytes([2, 1, 8], [0x10, 0x82, ...Array(6).fill(0x88), 0x8f, 0x80, ...Array(6).fill(0x88)]);
        const b = g.weight("packed", { type: "uint8", shape: [2, 1, 8], read: () => values.data });
        const c = g.weight("scales", { type: "float32", shape: [2], read: () => Float32Array.of(0.5, 2) });
        const attributes = { K: int(3), N: int(2), bits: int(4), block_size: int(16) };
        return raw("MatMulNBits", attributes, 1, "com.microsoft")(g, { a, b, c });
      },
      expected: [[-0.5 * (8 + 70 + 600), 2 * (7 - 800)]],
    },
  ],
  "com.microsoft.RotaryEmbedding": [
    {
      // Two heads of two pairs. The first token has the angles of row 1, a quarter turn and none, the second of row 0.
      inputs: {
        a: floats([1, 2, 2, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
        b: floats([2, 2], [-1, 1, 0, 1]),
        c: floats([2, 2], [0, 0, 1, 0]),
      },
      build: (g, { a, b, c }) => [g.rotaryEmbedding(a, g.unsqueeze(g.integers([1, 0]), 0), b, c)],
      expected: [[-3, 2, 1, 4, -5, 6, -7, 8, -11, 10, 9, 12, -13, 14, -15, 16]],
    },
    {
      // Consecutive rows from row 1.
      inputs: { a: floats([1, 1, 2, 2], [1, 2, 3, 4]), b: floats([3, 1], [0, 0, -1]), c: floats([3, 1], [5, 1, 0]) },
      build: (g, { a, b, c }) => [g.rotaryEmbedding(a, g.integers([1]), b, c)],
      expected: [[-2, 1, -3, -4]],
    },
    {
      // A quarter turn of the first two of three pairs, whose elements are two apart; of two heads and two tokens.
      inputs: {
        a: floats(
          [1, 2, 2, 6],
          Array.from({ length: 24 }, (_, i) => i + 1),
        ),
        b: floats([2, 2], [0, 0, 1, 1]),
        c: floats([2, 2], [1, 1, 0, 0]),
      },
      build: (g, { a, b, c }) => [g.rotaryEmbedding(a, g.integers([0]), b, c)],
      expected: [[-3, -4, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12, -15, -16, 13, 14, 17, 18, 19, 20, 21, 22, 23, 24]],
    },
    {
      // Interleaved pairs, of which the last is not rotated: a quarter turn and none.
      inputs: {
        a: floats([2, 1, 1, 6], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        b: floats([2, 2], [0, 1, 1, -1]),
        c: floats([2, 2], [1, 0, 0, 0]),
      },
      build: (g, { a, b, c }) => [g.rotaryEmbedding(a, g.unsqueeze(g.integers([0, 1]), 1), b, c, true)],
      expected: [[-2, 1, 3, 4, 5, 6, 7, 8, -9, -10, 11, 12]],
    },
  ],
  MatMulInteger: [
    {
      inputs: { a: bytes([1, 3], [1, 2, 3]), b: bytes([3, 1], [4, 5, 6]), c: bytes([], [1]) },
      build: raw("MatMulInteger"),
      expected: [[0 * 4 + 1 * 5 + 2 * 6]],
    },
  ],
  DynamicQuantizeLinear: [
    {
      // The example from ONNX's documentation.
      inputs: { a: floats([6], [0, 2, -3, -2.5, 1.34, 0.5]) },
      build: raw("DynamicQuantizeLinear", {}, 3),
      expected: [[153, 255, 0, 26, 221, 179], [5 / 255], [153]],
    },
  ],
  Reshape: [
    { inputs: { a: matrix }, build: (g, { a }) => [g.reshape(a, [0, 1, -1])], expected: [A] },
    {
      inputs: { a: matrix, b: floats([3, 2], C) },
      build: (g, { a, b }) => [g.reshapeLike(a, b)],
      expected: [A],
    },
  ],
  Transpose: [
    {
      inputs: { a: matrix },
      build: (g, { a }) => [g.transpose(a, [1, 0])],
      expected: [[1, 3, -2, 0.25, 0.5, -1]],
    },
  ],
  Unsqueeze: [{ inputs: { a: matrix }, build: (g, { a }) => [g.unsqueeze(a, 0, -1)], expected: [A] }],
  Squeeze: [{ inputs: { a: floats([1, 6, 1], A) }, build: (g, { a }) => [g.squeeze(a, 0, -1)], expected: [A] }],
  Concat: [
    {
      inputs: { a: matrix, b: floats([2, 1], [7, 8]) },
      build: (g, { a, b }) => [g.concat([a, b], -1)],
      expected: [[1, -2, 0.5, 7, 3, 0.25, -1, 8]],
    },
  ],
  Split: [
    {
      inputs: { a: matrix },
      build: (g, { a }) => g.split(a, [1, 2], 1),
      expected: [
        [1, 3],
        [-2, 0.5, 0.25, -1],
      ],
    },
    {
      inputs: { a: matrix, b: integers([2], [2, 1]) },
      build: (g, { a, b }) => g.splitDynamic(a, b, ["first", "second"], 1),
      expected: [
        [1, -2, 3, 0.25],
        [0.5, -1],
      ],
    },
  ],
  Slice: [
    { inputs: { a: matrix }, build: (g, { a }) => [g.slice(a, 1, -2)], expected: [[-2, 0.5, 0.25, -1]] },
    { inputs: { a: matrix }, build: (g, { a }) => [g.slice(a, -1, 0, 1)], expected: [[1, 3]] },
  ],
  Gather: [
    {
      inputs: { a: matrix, b: integers([2, 2], [1, 0, 1, 1]) },
      build: (g, { a, b }) => [g.gather(a, b)],
      expected: [[...A.slice(3), ...A, ...A.slice(3)]],
    },
    {
      inputs: { a: matrix, b: integers([], [2]) },
      build: (g, { a, b }) => [g.gather(a, b, 1)],
      expected: [[0.5, -1]],
    },
  ],
  GatherElements: [
    {
      inputs: { a: matrix, b: integers([2, 1], [2, 0]) },
      build: (g, { a, b }) => [g.gatherColumns(a, b)],
      expected: [[0.5, 3]],
    },
  ],
  ScatterElements: [
    {
      inputs: { a: matrix, b: integers([2], [1, 1]), c: floats([2, 3], [1, 2, 3, 10, 20, 30]) },
      build: (g, { a, b, c }) => [g.scatterAddRows(a, b, c)],
      expected: [[1, -2, 0.5, 14, 22.25, 32]],
    },
    {
      inputs: { a: matrix, b: integers([2, 2], [0, 2, 1, 1]), c: floats([2, 2], [1, 2, 3, 4]) },
      build: (g, { a, b, c }) => [g.scatterAddColumns(a, b, c)],
      expected: [[2, -2, 2.5, 3, 7.25, -1]],
    },
  ],
  Pad: [
    {
      inputs: { a: matrix },
      build: (g, { a }) => [g.pad(a, 1, 1, 0)],
      expected: [[0, 1, -2, 0.5, 0, 3, 0.25, -1]],
    },
  ],
  Expand: [
    {
      inputs: { a: row, b: matrix },
      build: (g, { a, b }) => [g.expandLike(a, b)],
      expected: [[...B, ...B]],
    },
    {
      inputs: { a: floats([1, 3], B), b: matrix },
      build: (g, { a, b }) => [g.repeatFor(a, b)],
      expected: [[...B, ...B]],
    },
  ],
  Shape: [
    {
      inputs: { a: matrix },
      build: (g, { a }) => [g.shapeOf(a), g.sizeOf(a, 1)],
      expected: [[2, 3], [3]],
    },
  ],
  Size: [{ inputs: { a: matrix }, build: raw("Size"), expected: [[6]] }],
};

describe("operators in ONNX Runtime", () => {
  for (const [op, all] of Object.entries(examples)) {
    it(`give the values and shapes of a plain computation: ${op}`, async () => {
      for (const { inputs, build, expected } of all) {
        const graph = graphOf(inputs, (g, values) => build(g, values as Inputs));
        const outputs = await runGraph(graph, inputs);
        assert.equal(outputs.length, expected.length);
        outputs.forEach((output, index) => {
          const declared = graph.outputs[index];
          assert.equal(output.type, declared?.type);
          const known = declared?.shape.map((dim, axis) => (typeof dim === "number" ? dim : output.shape[axis]));
          assert.deepEqual(Array.from(output.shape), known);
          const numbers = numbersOf(output);
          assert.equal(numbers.length, expected[index]?.length);
          numbers.forEach((number, i) => {
            const right = expected[index]?.[i] ?? Number.NaN;
            assert.ok(Math.abs(number - right) <= TOLERANCE * Math.max(1, Math.abs(right)), `${number}, not ${right}`);
          });
        });
      }
    });
  }

  it("are all tested here", () => {
    assert.deepEqual(Object.keys(examples).sort(), [...operatorNames].sort());
  });
});
