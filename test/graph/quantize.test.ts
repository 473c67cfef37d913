import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { GraphBuilder } from "../../src/graph/builder.js";
import { type Graph, int } from "../../src/graph/ir.js";
import { writeOnnx } from "../../src/graph/onnx-writer.js";
import { quantizeGraph } from "../../src/graph/quantize.js";
import { constantSource, type Tensor, type TensorSource } from "../../src/tensor/tensor.js";
import { type GoldenRun, goldenDecoder, goldenEncoder } from "./golden-graphs.js";
import { floats, numbersOf, runGraph } from "./small-graphs.js";

const [ROWS, COLUMNS] = [48, 40];

/** Numbers of both signs and many sizes. */
const wave = (rows: number, columns: number): TensorSource =>
  constantSource(
    "float32",
    [rows, columns],
    Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * 0.7) * (1 + (i % 5))),
  );

const input = floats(
  [2, ROWS],
  Array.from({ length: 2 * ROWS }, (_, i) => Math.cos(i)),
);

function productGraph(build: (g: GraphBuilder) => void): Graph {
  const g = new GraphBuilder("product");
  build(g);
  return g.finish();
}

const product = () =>
  productGraph((g) => {
    const x = g.input("x", "float32", ["batch", ROWS]);
    g.output("y", g.matmul(x, g.weight("w", wave(ROWS, COLUMNS))));
  });

const operators = (graph: Graph) => graph.nodes.map(({ op }) => op);

function cosine(a: Tensor, b: Tensor): number {
  const [x, y] = [numbersOf(a), numbersOf(b)];
  const dot = (left: readonly number[], right: readonly number[]) =>
    left.reduce((sum, value, i) => sum + value * (right[i] ?? 0), 0);
  return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y));
}

/** How close a whole tiny model stays; larger ones, with more numbers to average over, stay closer. */
const CLOSE = { int8: 0.999, int4: 0.98 } as const;

const models: readonly (readonly [string, () => GoldenRun])[] = [
  ["OPT", () => goldenDecoder("opt-shared-1token")],
  ["OPT, post-norm and projected", () => goldenDecoder("opt-post-norm-projected")],
  ["Llama", () => goldenDecoder("llama-shared-1token")],
  ["vision transformer", () => goldenEncoder("opt-shared-1token")],
];

describe("quantized graphs", () => {
  for (const [what, open] of models) {
    for (const precision of ["int8", "int4"] as const) {
      it(`stay close to float32 in ${precision}: ${what}`, async () => {
        const { graph, feeds, output } = open();
        const quantized = quantizeGraph(graph, { precision });
        assert.ok(operators(quantized).includes(precision === "int8" ? "MatMulInteger" : "MatMulNBits"));
        const [exact, rounded] = await Promise.all(
          [graph, quantized].map(async (form) => {
            const index = form.outputs.findIndex(({ name }) => name === output);
            return (await runGraph(form, feeds))[index] as Tensor;
          }),
        );
        assert.ok(exact && rounded);
        const found = cosine(exact, rounded);
        assert.ok(found >= CLOSE[precision] && found < 1, `cosine ${found}`);
      });
    }
  }

  it("keep weights to 7 bits where asked to", () => {
    for (const [reduceRange, largest] of [
      [false, 127],
      [true, 63],
    ] as const) {
      const { initializers } = quantizeGraph(product(), { precision: "int8", reduceRange });
      const values = Array.from(initializers.get("w.int8")?.read() ?? [], Number);
      assert.equal(Math.max(...values.map(Math.abs)), largest);
    }
  });

  it("quantize an activation once for all products that take it", () => {
    const graph = productGraph((g) => {
      const x = g.input("x", "float32", ["batch", ROWS]);
      g.output("a", g.matmul(x, g.weight("w1", wave(ROWS, COLUMNS))));
      g.output("b", g.matmul(x, g.weight("w2", wave(ROWS, COLUMNS))));
    });
    const ops = operators(quantizeGraph(graph, { precision: "int8" }));
    assert.equal(ops.filter((op) => op === "DynamicQuantizeLinear").length, 1);
    assert.equal(ops.filter((op) => op === "MatMulInteger").length, 2);
  });

  it("leave alone what is small, or no weight, or turned otherwise", async () => {
    const feeds = { x: input, y: floats([ROWS, 2], Array.from(input.data, Number)) };
    const graph = productGraph((g) => {
      const x = g.input("x", "float32", ["batch", ROWS]);
      const y = g.input("y", "float32", [ROWS, "batch"]);
      const small = constantSource("float32", [ROWS, 3], new Float32Array(ROWS * 3).fill(1));
      g.output("small", g.matmul(x, g.weight("small weight", small)));
      g.output("activations", g.matmul(x, y));
      // Not turned: x [batch, 48] x w [48, 48], which only the operator's attribute tells from its transpose.
      g.output("plain", g.operator("Gemm", [x, g.weight("w", wave(ROWS, ROWS))], { transB: int(0) })[0] ?? x);
    });
    for (const precision of ["int8", "int4"] as const) {
      const quantized = quantizeGraph(graph, { precision });
      assert.deepEqual(operators(quantized), operators(graph));
      assert.deepEqual(
        (await runGraph(quantized, feeds)).map(numbersOf),
        (await runGraph(graph, feeds)).map(numbersOf),
      );
    }
  });

  it("store a tied embedding once, a byte a number", () => {
    const folder = mkdtempSync(join(tmpdir(), "epalm-quantize-"));
    try {
      const [rows, width] = [200, 64];
      const tied = productGraph((g) => {
        const table = g.weight("table", wave(rows, width));
        g.output("y", g.matmulTransposed(g.gather(table, g.input("ids", "int64", ["tokens"])), table));
      });
      const bytesOf = (name: string, graph: Graph) => {
        writeOnnx(graph, join(folder, `${name}.onnx`));
        return statSync(join(folder, `${name}.data`)).size;
      };
      assert.equal(bytesOf("fp32", tied), rows * width * 4);
      const plain = quantizeGraph(tied, { precision: "int8" });
      // Scales (800 bytes) stand in the graph file.
      assert.equal(bytesOf("int8", plain), rows * width);
      assert.equal(bytesOf("int4", quantizeGraph(tied, { precision: "int4" })), rows * width);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it("look rows of a tied embedding up as the head sees them", async () => {
    const tied = productGraph((g) => {
      const table = g.weight("table", wave(ROWS, COLUMNS));
      const rows = g.gather(table, g.input("ids", "int64", ["batch", "step"]));
      g.output("rows", rows);
      g.output("scores", g.matmulTransposed(g.reshape(rows, [-1, COLUMNS]), table));
    });
    const ids: Tensor = { type: "int64", shape: [1, 3], data: BigInt64Array.of(0n, 47n, 5n) };
    const [rows] = await runGraph(quantizeGraph(tied, { precision: "int8" }), { ids });
    const table = wave(ROWS, COLUMNS).read();
    const expected = [0, 47, 5].flatMap((id) =>
      Array.from(table.slice(id * COLUMNS, (id + 1) * COLUMNS), Number),
    );
    assert.deepEqual(rows?.shape, [1, 3, COLUMNS]);
    rows?.data.forEach((value: number | bigint, i: number) => {
      // Half a step of a row whose largest number is at most 5.
      assert.ok(Math.abs(Number(value) - (expected[i] ?? 0)) <= (0.501 * 5) / 127, `${i}: ${value}`);
    });
  });
});
