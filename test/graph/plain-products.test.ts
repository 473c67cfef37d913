import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Value } from "../../src/graph/ir.js";
import { plainProducts } from "../../src/graph/plain-products.js";
import { floats, graphOf, numbersOf, runGraph } from "../support/small-graphs.js";

const wave = (shape: readonly number[]) =>
  floats(
    shape,
    Array.from({ length: shape.reduce((product, size) => product * size, 1) }, (_, i) => Math.sin(i)),
  );

describe("plainProducts", () => {
  for (const [flags, a, b] of [
    [{ a: true }, [2, 4, 3], [2, 4, 5]],
    [{ b: true }, [2, 3, 4], [5, 4]],
    [{ a: true, b: true }, [2, 4, 3], [2, 5, 4]],
  ] as const) {
    it(`multiplies transposed matrices with standard operators: ${Object.keys(flags).join(" and ")}`, async () => {
      const feeds = { a: wave(a), b: wave(b) };
      const graph = graphOf(feeds, (g, inputs) => [g.fusedMatmul(inputs.a as Value, inputs.b as Value, flags)]);
      const plain = plainProducts(graph);
      assert.ok(plain.nodes.every(({ domain }) => domain === ""));
      const [expected, found] = [await runGraph(graph, feeds), await runGraph(plain, feeds)];
      assert.deepEqual(found[0]?.shape, expected[0]?.shape);
      numbersOf(found[0] ?? feeds.a).forEach((value, i) => {
        assert.ok(Math.abs(value - Number(expected[0]?.data[i])) < 1e-6);
      });
    });
  }
});
