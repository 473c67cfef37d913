import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { GraphBuilder } from "../../src/graph/builder.js";
import { checkGraph } from "../../src/graph/check-graph.js";
import { halfPrecision } from "../../src/graph/half-precision.js";
import { inPrecision } from "../../src/graph/in-precision.js";
import type { Graph, Value } from "../../src/graph/ir.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { rmsNorm } from "../../src/layers/norm.js";
import { constantSource, type Tensor } from "../../src/tensor/tensor.js";
import { type GoldenRun, goldenDecoder, goldenEncoder } from "../support/golden-graphs.js";
import { floats, graphOf, numbersOf, runGraph } from "../support/small-graphs.js";

/** The largest difference from float32, in relation to the largest magnitude. */
const models: readonly (readonly [string, () => GoldenRun, number])[] = [
  ["OPT", () => goldenDecoder("opt-shared-1token"), 0.002],
  ["OPT, post-norm", () => goldenDecoder("opt-post-norm-projected"), 0.002],
  ["Llama", () => goldenDecoder("llama-shared-1token"), 0.006],
  ["vision transformer", () => goldenEncoder("opt-shared-1token"), 0.002],
];

/** The share of the fp32 graph that remains; these tiny graphs consist of more than their weights. */
const SIZE = 0.6;

async function outputOf(graph: Graph, { feeds, output }: GoldenRun): Promise<number[]> {
  const results = await runGraph(graph, feeds);
  return numbersOf(results[graph.outputs.findIndex(({ name }) => name === output)] as Tensor);
}

const largest = (numbers: readonly number[]) => numbers.reduce((size, value) => Math.max(size, Math.abs(value)), 0);

/** The types of the first inputs of all nodes with an operator. */
function typesOf(graph: Graph, ...operators: string[]): Set<string | undefined> {
  const nodes = graph.nodes.filter(({ op }) => operators.includes(op));
  return new Set(nodes.map(({ inputs: [first = ""] }) => graph.values.get(first)?.type));
}

const matrix = (g: GraphBuilder, name: string, rows: number, columns: number): Value =>
  g.weight(
    name,
    constantSource(
      "float32",
      [rows, columns],
      Float32Array.from({ length: rows * columns }, (_, i) => Math.cos(i)),
    ),
  );

describe("graphs in half precision", () => {
  for (const [what, open, tolerance] of models) {
    it(`compute close to float32, with the same inputs and outputs: ${what}`, async () => {
      const run = open();
      const half = halfPrecision(run.graph);
      checkGraph(half);
      assert.deepEqual([half.inputs, half.outputs], [run.graph.inputs, run.graph.outputs]);
      const [exact, found] = [await outputOf(run.graph, run), await outputOf(half, run)];
      const error = largest(found.map((value, i) => value - (exact[i] ?? 0))) / largest(exact);
      assert.ok(error > 0 && error <= tolerance, `${error}`);
      const share = encodeOnnx(half).length / encodeOnnx(run.graph).length;
      assert.ok(share < SIZE, `${share} of the size`);
    });

    it(`multiply in float16, and normalise in float32: ${what}`, () => {
      for (const precision of ["fp16", "int4-fp16"] as const) {
        const half = inPrecision(open().graph, precision);
        assert.deepEqual(typesOf(half, "MatMul", "Gemm", "MatMulNBits"), new Set(["float16"]));
        assert.deepEqual(typesOf(half, "LayerNormalization", "Pow", "ReduceMean", "Softmax"), new Set(["float32"]));
      }
    });
  }

  it("round the products of int4 weights, and nothing else more than int4-fp32 does", async () => {
    for (const [what, open, tolerance] of models) {
      const run = open();
      const exact = await outputOf(inPrecision(run.graph, "int4-fp32"), run);
      const found = await outputOf(inPrecision(run.graph, "int4-fp16"), run);
      const error = largest(found.map((value, i) => value - (exact[i] ?? 0))) / largest(exact);
      assert.ok(error <= tolerance, `${what}: ${error}`);
    }
  });

  it("normalise vectors whose squares exceed the range of float16", async () => {
    const x = floats([1, 64], new Array<number>(64).fill(20));
    const graph = graphOf({ x }, (g, inputs) => {
      // Products of 20 times 64 weights of 1 are 1280; their squares exceed 65504.
      const ones = constantSource("float32", [64, 64], new Float32Array(64 * 64).fill(1));
      const scale = g.weight("scale", constantSource("float32", [64], new Float32Array(64).fill(2)));
      return [rmsNorm(g, g.matmul(inputs.x as Value, g.weight("ones", ones)), { scale, epsilon: 1e-6 })];
    });
    const [y] = await runGraph(halfPrecision(graph), { x });
    for (const value of numbersOf(y as Tensor)) assert.ok(Math.abs(value - 2) < 1e-3, `${value}`);
  });

  it("store a table that is looked up and multiplied with once, in half its size", () => {
    const graph = graphOf({ ids: { type: "int64", shape: [2], data: BigInt64Array.of(0n, 3n) } }, (g, { ids }) => {
      const table = matrix(g, "table", 64, 32);
      return [g.matmulTransposed(g.gather(table, ids as Value), table)];
    });
    const weights = Array.from(halfPrecision(graph).initializers.values(), ({ type, shape }) => ({ type, shape }));
    assert.deepEqual(weights, [{ type: "float16", shape: [64, 32] }]);
  });

  it("convert each value once", () => {
    const x = floats([1, 32], new Array<number>(32).fill(1));
    const graph = graphOf({ x }, (g, inputs) =>
      ["a", "b", "c"].map((name) => g.matmul(inputs.x as Value, matrix(g, name, 32, 32))),
    );
    const casts = halfPrecision(graph).nodes.filter(({ op }) => op === "Cast");
    // The input, and three outputs.
    assert.equal(casts.length, 4);
  });
});
