import { type Dim, int, ints, type Value } from "../../src/graph/ir.js";
import { awayFromZero, type Example, type ExampleInput, type Fill, within } from "./example.js";

/** The forms in which each operator that has a gradient rule is tested. */

const trained = (dims: readonly Dim[], fill: Fill = within(-1.5, 1.5)): ExampleInput => ({
  kind: "trained",
  dims,
  fill,
});
const frozen = (dims: readonly Dim[], fill: Fill = within(-1.5, 1.5)): ExampleInput => ({
  kind: "frozen",
  dims,
  fill,
});
const integers = (dims: readonly Dim[], ...data: number[]): ExampleInput => ({ kind: "int64", dims, data });
const choices = (dims: readonly Dim[], ...data: number[]): ExampleInput => ({ kind: "bool", dims, data });

type Builder = Parameters<Example["build"]>[0];
type Inputs = Record<string, Value>;

/** An example with one output. */
function one(
  what: string,
  inputs: Record<string, ExampleInput>,
  build: (g: Builder, inputs: Inputs & { x: Value; a: Value; b: Value; c: Value; ids: Value }) => Value,
  sizes: Record<string, number> = {},
): Example {
  return { what, inputs, sizes, build: (g, values) => [build(g, values as Parameters<typeof build>[1])] };
}

function unary(build: (g: Builder, x: Value) => Value, fill: Fill = within(-1.5, 1.5)): Example[] {
  return [one("symbolic size", { x: trained(["batch", 3], fill) }, (g, { x }) => build(g, x), { batch: 2 })];
}

/** All ways in which two shapes can broadcast. */
const broadcasts: readonly (readonly [what: string, a: readonly Dim[], b: readonly Dim[]])[] = [
  ["same shapes", [2, 3], [2, 3]],
  ["number on the right", [2, 3], []],
  ["number on the left", [], [2, 3]],
  ["row on the right", [2, 3], [3]],
  ["row on the left", [3], [2, 3]],
  ["column on the right", [2, 3], [2, 1]],
  ["column on the left", [2, 1], [2, 3]],
  ["column and row", [2, 1], [1, 3]],
  ["middle axis", [2, 3, 2], [2, 1, 2]],
  ["several axes", [2, 3, 2], [1, 1, 2]],
  ["fewer axes, one of them 1", [2, 3, 2], [3, 1]],
  ["symbolic sizes", ["batch", "step", 2], ["step", 1]],
  ["symbolic sizes on both sides", ["batch", 1, 2], ["step", 1]],
];

function binary(build: (g: Builder, a: Value, b: Value) => Value, left?: Fill, right?: Fill): Example[] {
  const sizes = { batch: 2, step: 3 };
  return [
    ...broadcasts.map(([what, a, b]) =>
      one(what, { a: trained(a, left), b: trained(b, right) }, (g, { a, b }) => build(g, a, b), sizes),
    ),
    one("a value with itself", { x: trained([3], right ?? left) }, (g, { x }) => build(g, x, x)),
  ];
}

const constantPower = (what: string, exponent: number, fill: Fill): Example =>
  one(what, { x: trained([2, 3], fill) }, (g, { x }) => g.power(x, g.number(exponent)));

/** Sums and means differ only by a factor. */
function reductions(op: "ReduceSum" | "ReduceMean"): Example[] {
  const reduce = (g: Builder, x: Value, keep: boolean, ...axes: number[]) =>
    g.operator(op, [x, g.integers(axes)], { keepdims: int(Number(keep)) })[0] as Value;
  const x = trained(["batch", 3, "step"]);
  const sizes = { batch: 2, step: 2 };
  return [
    one("last axis, kept", { x: trained([2, 3]) }, (g, { x }) => reduce(g, x, true, -1)),
    one("axis of symbolic size, kept", { x }, (g, { x }) => reduce(g, x, true, 0), sizes),
    one("axes of known and symbolic size, removed", { x }, (g, { x }) => reduce(g, x, false, 2, 1), sizes),
    one("all axes", { x }, (g, { x }) => g.operator(op, [x], { keepdims: int(0) })[0] as Value, sizes),
    one("axes kept by default", { x }, (g, { x }) => g.operator(op, [x], {})[0] as Value, sizes),
  ];
}

const logits = trained(["scored", 4]);
const targets = integers(["scored"], 1, 3, 1);

export const ruleExamples: Readonly<Record<string, readonly Example[]>> = {
  Add: binary((g, a, b) => g.add(a, b)),
  Concat: [
    one("known parts", { a: trained([2, 1]), b: trained([2, 3]) }, (g, { a, b }) => g.concat([a, b], -1)),
    ...[0, 1, 2].map((place) =>
      one(
        `part ${place} of symbolic size`,
        { a: trained([1, 2]), b: trained([2, 2]), x: trained(["step", 2]) },
        (g, { a, b, x }) => g.concat([a, b].toSpliced(place, 0, x), 0),
        { step: 3 },
      ),
    ),
    one(
      "only one part is trained",
      { a: frozen(["batch", 2]), x: trained(["batch", "step"]), b: frozen(["batch", 1]) },
      (g, { a, x, b }) => g.concat([a, x, b], 1),
      { batch: 2, step: 3 },
    ),
    one("a part twice", { x: trained([2, 2]) }, (g, { x }) => g.concat([x, x], 0)),
  ],
  Cos: unary((g, x) => g.cosine(x)),
  Div: binary((g, a, b) => g.divide(a, b), within(-1.5, 1.5), awayFromZero(0.75, 2)),
  Erf: unary((g, x) => g.erf(x)),
  Exp: unary((g, x) => g.exponential(x)),
  Expand: [
    one(
      "first axis, repeated for each row of a batch",
      { x: trained([1, 3]), a: frozen(["batch", 2]) },
      (g, { x, a }) => g.repeatFor(x, a),
      { batch: 3 },
    ),
    one(
      "leading and inner axes",
      { x: trained([3, 1]), a: frozen(["batch", 3, 2]) },
      (g, { x, a }) => g.expandLike(x, a),
      { batch: 2 },
    ),
    one("a number", { x: trained([]), a: frozen([2, 2]) }, (g, { x, a }) => g.expandLike(x, a)),
  ],
  Gather: [
    one("repeated rows", { x: trained([4, 2]), ids: integers([5], 1, 3, 1, 1, 0) }, (g, { x, ids }) =>
      g.gather(x, ids),
    ),
    one(
      "repeated rows, indices with two axes of symbolic size",
      { x: trained(["rows", 2]), ids: integers(["batch", "step"], 1, 0, 1, 2, 2, 1) },
      (g, { x, ids }) => g.gather(x, ids),
      { rows: 4, batch: 2, step: 3 },
    ),
    one(
      "rows of unknown size, indices with one axis",
      { x: trained([3, "step", 2]), ids: integers(["n"], 2, 2) },
      (g, { x, ids }) => g.gather(x, ids),
      { step: 2, n: 2 },
    ),
    one("scalars, with negative indices", { x: trained([4]), ids: integers([3], -1, 3, 0) }, (g, { x, ids }) =>
      g.gather(x, ids),
    ),
    one("a single row", { x: trained([4, 2]), ids: integers([], 2) }, (g, { x, ids }) => g.gather(x, ids)),
    one("rows with int32 indices", { x: trained([4, 2]), ids: integers([3], 1, 1, 2) }, (g, { x, ids }) =>
      g.gather(x, g.cast(ids, "int32")),
    ),
  ],
  GatherElements: [
    one(
      "repeated columns",
      { x: trained(["scored", 4]), ids: integers(["scored", 2], 1, 1, 0, 3) },
      (g, { x, ids }) => g.gatherColumns(x, ids),
      { scored: 2 },
    ),
  ],
  Gelu: [...unary((g, x) => g.gelu(x, "none"), within(-3, 3)), ...unary((g, x) => g.gelu(x, "tanh"), within(-3, 3))],
  Gemm: [
    one("a times b transposed", { a: trained(["scored", 3]), b: trained([4, 3]) }, (g, { a, b }) =>
      g.matmulTransposed(a, b),
    ),
  ].map((example) => ({ ...example, sizes: { scored: 2 } })),
  Identity: unary((g, x) => g.operator("Identity", [x], {})[0] as Value),
  LayerNormalization: [
    one(
      "all of x, scale and bias",
      { x: trained(["batch", "step", 4]), a: trained([4]), b: trained([4]) },
      (g, { x, a, b }) => g.layerNorm(x, a, b, 1e-5),
      { batch: 2, step: 2 },
    ),
    one("scale and bias with frozen x", { x: frozen([3, 4]), a: trained([4]), b: trained([4]) }, (g, { x, a, b }) =>
      g.layerNorm(x, a, b, 1e-5),
    ),
    one(
      "a large epsilon, without bias",
      { x: trained([2, 4], within(-0.5, 0.5)), a: frozen([4]) },
      (g, { x, a }) => g.operator("LayerNormalization", [x, a], { epsilon: { kind: "float", value: 0.5 } })[0] as Value,
    ),
  ],
  Log: unary((g, x) => g.logarithm(x), within(0.75, 2)),
  MatMul: [
    one("2-D x 2-D", { a: trained(["n", 3]), b: trained([3, 2]) }, (g, { a, b }) => g.matmul(a, b), { n: 2 }),
    one(
      "3-D x 2-D: a linear",
      { a: trained(["batch", "step", 3]), b: trained([3, 2]) },
      (g, { a, b }) => g.matmul(a, b),
      { batch: 2, step: 3 },
    ),
    one("4-D x 2-D", { a: trained([2, 1, 2, 3]), b: trained([3, 2]) }, (g, { a, b }) => g.matmul(a, b)),
    one(
      "4-D x 4-D: scores",
      { a: trained(["batch", 2, "step", 2]), b: trained(["batch", 2, 2, "step"]) },
      (g, { a, b }) => g.matmul(a, b),
      { batch: 2, step: 3 },
    ),
    one(
      "4-D x 4-D: weighted sums of values over a symbolic size",
      { a: trained(["batch", 1, 2, "step"]), b: trained(["batch", 1, "step", 2]) },
      (g, { a, b }) => g.matmul(a, b),
      { batch: 2, step: 3 },
    ),
    one("batches that broadcast on both sides", { a: trained([2, 1, 2, 3]), b: trained([1, 2, 3, 2]) }, (g, { a, b }) =>
      g.matmul(a, b),
    ),
    one("2-D x 3-D", { a: trained([2, 3]), b: trained([2, 3, 2]) }, (g, { a, b }) => g.matmul(a, b)),
    one(
      "3-D x 2-D over a symbolic size",
      { a: trained([2, 2, "step"]), b: trained(["step", 2]) },
      (g, { a, b }) => g.matmul(a, b),
      { step: 3 },
    ),
  ],
  Mul: binary((g, a, b) => g.multiply(a, b)),
  Neg: unary((g, x) => g.negate(x)),
  Pow: [
    ...binary((g, a, b) => g.power(a, b), within(0.75, 2), within(0.75, 2)),
    constantPower("square of numbers of either sign", 2, awayFromZero(0.25, 1.5)),
    constantPower("square around zero", 2, within(-0.1, 0.1)),
    constantPower("cube", 3, within(-1.5, 1.5)),
    constantPower("inverse square", -2, awayFromZero(1, 2)),
    constantPower("inverse root", -0.5, within(1, 2)),
  ],
  Reciprocal: unary((g, x) => g.reciprocal(x), awayFromZero(1, 2)),
  ReduceMean: reductions("ReduceMean"),
  ReduceSum: reductions("ReduceSum"),
  Relu: unary((g, x) => g.relu(x), awayFromZero(0.25, 1.5)),
  Reshape: [
    one("known sizes", { x: trained([2, 3, 2]) }, (g, { x }) => g.reshape(x, [3, -1])),
    one("symbolic size kept", { x: trained(["batch", 4]) }, (g, { x }) => g.reshape(x, [0, 2, 2]), {
      batch: 2,
    }),
    one("two symbolic sizes become one", { x: trained(["batch", "step", 2]) }, (g, { x }) => g.reshape(x, [-1, 2]), {
      batch: 2,
      step: 3,
    }),
    one("heads become rows", { x: trained(["batch", 4, "step", 2]) }, (g, { x }) => g.reshape(x, [0, 2, -1, 2]), {
      batch: 2,
      step: 3,
    }),
  ],
  Sigmoid: unary((g, x) => g.sigmoid(x)),
  Sin: unary((g, x) => g.sine(x)),
  Slice: [
    one("from the front", { x: trained([2, 4]) }, (g, { x }) => g.slice(x, 1, 0, 2)),
    one("to the back", { x: trained([2, 4]) }, (g, { x }) => g.slice(x, 1, -1)),
    one("from the middle", { x: trained([2, 4]) }, (g, { x }) => g.slice(x, -1, 1, -1)),
    one("from before the start to beyond the end", { x: trained([2, 4]) }, (g, { x }) => g.slice(x, 1, -9, 9)),
    one("without the first element of a symbolic size", { x: trained([2, "step"]) }, (g, { x }) => g.slice(x, 1, 1), {
      step: 3,
    }),
    one(
      "without the last element of a symbolic size",
      { x: trained(["step", 2]) },
      (g, { x }) => g.slice(x, 0, 1, -1),
      {
        step: 4,
      },
    ),
    one(
      "two axes at once",
      { x: trained([3, "step", 4]) },
      (g, { x }) => {
        const bounds = [g.integers([1, -2]), g.integers([2, 3]), g.integers([0, 2])];
        return g.operator("Slice", [x, ...bounds], {})[0] as Value;
      },
      { step: 2 },
    ),
    one("an empty slice, concatenated with another part", { x: trained([3, 2]), a: trained([1, 2]) }, (g, { x, a }) =>
      g.concat([g.slice(x, 0, 2, 1), a], 0),
    ),
  ],
  Softmax: [
    one("last axis", { x: trained(["batch", 2, "step"]) }, (g, { x }) => g.softmax(x), { batch: 2, step: 3 }),
    one("another axis", { x: trained([3, 2]) }, (g, { x }) => g.operator("Softmax", [x], { axis: int(0) })[0] as Value),
    one("with masked positions", { x: trained([2, 3]), c: choices([3], 1, 0, 1) }, (g, { x, c }) =>
      g.softmax(g.add(x, g.where(c, g.number(0), g.number(-3.4028234663852886e38)))),
    ),
  ],
  SoftmaxCrossEntropyLoss: [
    one("loss of the targets", { x: logits, ids: targets }, (g, { x, ids }) => g.crossEntropy(x, ids).loss, {
      scored: 3,
    }),
    one(
      "all log-probabilities",
      { x: logits, ids: targets },
      (g, { x, ids }) => g.crossEntropy(x, ids).logProbabilities,
      { scored: 3 },
    ),
    {
      what: "both, as with label smoothing",
      inputs: { x: logits, ids: targets },
      sizes: { scored: 3 },
      build: (g, { x, ids }) => {
        const { loss, logProbabilities } = g.crossEntropy(x as Value, ids as Value);
        return [loss, logProbabilities];
      },
    },
    one(
      "loss of a node without its output of log-probabilities",
      { x: logits, ids: targets },
      (g, { x, ids }) =>
        g.operator("SoftmaxCrossEntropyLoss", [x, ids], {
          reduction: { kind: "string", value: "none" },
        })[0] as Value,
      { scored: 3 },
    ),
  ],
  Split: [
    {
      what: "all parts",
      inputs: { x: trained(["batch", 4]) },
      sizes: { batch: 2 },
      build: (g, { x }) => g.split(x as Value, [1, 3], 1),
    },
    one("first and last part", { x: trained([2, 4]) }, (g, { x }) => {
      const [first, , last] = g.split(x, [1, 2, 1], -1) as [Value, Value, Value];
      return g.multiply(first, last);
    }),
    one(
      "parts of symbolic sizes, one unused",
      { x: trained(["past+step", 2]), a: frozen(["past", 1]), b: frozen(["step", 1]) },
      (g, { x, a, b }) => {
        const sizes = g.concat([g.sizeOf(a, 0), g.sizeOf(b, 0)], 0);
        return g.splitDynamic(x, sizes, ["past", "step"], 0)[1] as Value;
      },
      { past: 2, step: 3, "past+step": 5 },
    ),
  ],
  Sqrt: unary((g, x) => g.squareRoot(x), within(0.75, 2)),
  Squeeze: [
    one(
      "axes of size 1 among symbolic sizes",
      { x: trained(["batch", 1, "step", 1]) },
      (g, { x }) => g.squeeze(x, 1, -1),
      { batch: 2, step: 3 },
    ),
  ],
  Sub: binary((g, a, b) => g.subtract(a, b)),
  Tanh: unary((g, x) => g.tanh(x)),
  Transpose: [
    one(
      "an order that is not its own inverse",
      { x: trained(["batch", 2, "step"]) },
      (g, { x }) => g.transpose(x, [1, 2, 0]),
      { batch: 2, step: 3 },
    ),
    one("backwards by default", { x: trained([2, 1, 3]) }, (g, { x }) => g.operator("Transpose", [x], {})[0] as Value),
    one("heads", { x: trained([1, 2, 2, 3]) }, (g, { x }) => {
      return g.operator("Transpose", [x], { perm: ints([0, 2, 1, 3]) })[0] as Value;
    }),
  ],
  Unsqueeze: [
    one("axes among symbolic sizes", { x: trained(["batch", "step"]) }, (g, { x }) => g.unsqueeze(x, 1, -1), {
      batch: 2,
      step: 3,
    }),
  ],
  Where: [
    one(
      "both sides",
      { c: choices([2, 3], 1, 0, 0, 1, 1, 0), a: trained([2, 3]), b: trained([2, 3]) },
      (g, { c, a, b }) => g.where(c, a, b),
    ),
    one(
      "all three broadcast",
      { c: choices(["batch", 1, 1], 1, 0), a: trained([3, 1]), b: trained([]) },
      (g, { c, a, b }) => g.where(c, a, b),
      { batch: 2 },
    ),
    one(
      "one side is frozen",
      { c: choices(["step"], 1, 0, 1), a: frozen([1]), b: trained(["batch", "step"]) },
      (g, { c, a, b }) => g.where(c, a, b),
      { batch: 2, step: 3 },
    ),
  ],
  "com.microsoft.RotaryEmbedding": [
    one(
      "rows of each token",
      {
        x: trained(["batch", 2, "step", 4]),
        a: frozen([5, 2]),
        b: frozen([5, 2]),
        ids: integers(["batch", "step"], 4, 0, 1, 1, 3, 2),
      },
      (g, { x, a, b, ids }) => g.rotaryEmbedding(x, ids, a, b),
      { batch: 2, step: 3 },
    ),
    one(
      "some elements of each head, interleaved",
      {
        x: trained(["batch", 2, "step", 6]),
        a: frozen([5, 2]),
        b: frozen([5, 2]),
        ids: integers(["batch", "step"], 4, 0, 1, 1, 3, 2),
      },
      (g, { x, a, b, ids }) => g.rotaryEmbedding(x, ids, a, b, true),
      { batch: 2, step: 3 },
    ),
  ],
};
