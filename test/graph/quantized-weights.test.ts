import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { GraphBuilder } from "../../src/graph/builder.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { quantizeGraph } from "../../src/graph/quantize.js";
import { blockwise, dequantizedBlocks, int8Columns } from "../../src/graph/quantized-weights.js";
import { openSession } from "../../src/runtime/session.js";
import { constantSource, type TensorSource } from "../../src/tensor/tensor.js";

function matrix(rows: number, columns: number, numberAt: (k: number, n: number) => number): TensorSource {
  const data = Float32Array.from({ length: rows * columns }, (_, i) => numberAt(Math.floor(i / columns), i % columns));
  return constantSource("float32", [rows, columns], data);
}

const sizes = fc.record({
  rows: fc.integer({ min: 1, max: 70 }),
  columns: fc.integer({ min: 1, max: 9 }),
  seed: fc.nat(),
});

/** Values of very different magnitudes, and a column of zeros. */
const wild = (seed: number) => (k: number, n: number) => (n === 0 ? 0 : Math.sin(seed + 7 * k + 3 * n) * 10 ** (n % 4));

describe("quantized weights", () => {
  it("differ from the originals by at most half a step, in 8 bits and in 7", () => {
    fc.assert(
      fc.property(sizes, fc.constantFrom(127, 63), ({ rows, columns, seed }, largest) => {
        const source = matrix(rows, columns, wild(seed));
        const { values, scales } = int8Columns(source, largest);
        const [floats, integers, factors] = [source.read(), values.read(), scales.read()];
        integers.forEach((integer: number | bigint, i: number) => {
          const scale = Number(factors[i % columns]);
          assert.ok(Math.abs(Number(integer)) <= largest);
          assert.ok(Math.abs(Number(integer) * scale - Number(floats[i])) <= scale * 0.5001);
        });
      }),
      { numRuns: 50, seed: 1 },
    );
  });

  it("in 4 bits have the layout that ONNX Runtime unpacks, for various sizes", async () => {
    for (const [rows, columns] of [
      [64, 32],
      [100, 24],
      [33, 40],
    ] as const) {
      const source = matrix(rows, columns, wild(rows));
      const g = new GraphBuilder("product");
      g.output("y", g.matmul(g.input("x", "float32", ["batch", rows]), g.weight("w", source)));
      const session = await openSession(encodeOnnx(quantizeGraph(g.finish(), { precision: "int4" })), { threads: 1 });
      // Each row of the identity matrix reads one row of the matrix.
      const identity = Float32Array.from({ length: rows * rows }, (_, i) => Number(i % (rows + 1) === 0));
      const { y } = await session.run({ x: { type: "float32", shape: [rows, rows], data: identity } }, ["y"]);
      await session.close();
      const scales = blockwise(source, { bits: 4, block: 64, steps: 8 }).scales.read();
      const blocks = Math.ceil(rows / 64);
      source.read().forEach((value: number | bigint, i: number) => {
        const step = Math.abs(Number(scales[(i % columns) * blocks + Math.floor(Math.floor(i / columns) / 64)]));
        // The range has one step less on one side, and activations are quantized to 8 bits.
        assert.ok(Math.abs(Number(y?.data[i]) - Number(value)) <= step * 1.1, `${rows}x${columns}: ${i}`);
      });
    }
  });

  it("are read back from 8-bit blocks with at most half a step of difference", () => {
    const shape = [100, 24] as const;
    const source = matrix(...shape, wild(4));
    const blocks = blockwise(source, { bits: 8, block: 64, steps: 128 });
    const [read, scales] = [dequantizedBlocks(blocks, shape).read(), blocks.scales.read()];
    source.read().forEach((value: number | bigint, i: number) => {
      const step = Math.abs(Number(scales[(i % 24) * 2 + Math.floor(Math.floor(i / 24) / 64)]));
      // The range has one step less on one side.
      assert.ok(Math.abs(Number(read[i]) - Number(value)) <= step * 1.001, `${i}`);
    });
  });

  it("store an embedding that is also the output head as one tensor", () => {
    const g = new GraphBuilder("tied");
    const table = g.weight("table", matrix(60, 32, wild(3)));
    const rows = g.gather(table, g.input("ids", "int64", ["tokens"]));
    g.output("scores", g.matmulTransposed(rows, table));
    const tied = quantizeGraph(g.finish(), { precision: "int8" });
    const large = Array.from(tied.initializers.values()).filter(({ shape }) => shape.length === 2);
    assert.deepEqual(
      large.map(({ type, shape }) => ({ type, shape })),
      [{ type: "int8", shape: [32, 60] }],
    );
  });
});
