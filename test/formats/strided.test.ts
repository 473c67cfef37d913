import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { gatherStrided, reachOf, rowMajorStrides } from "../../src/formats/strided.js";

describe("strided tensors", () => {
  it("have row-major strides that increase from the last axis", () => {
    assert.deepEqual(rowMajorStrides([2, 3, 4]), [12, 4, 1]);
    assert.deepEqual(rowMajorStrides([]), []);
  });

  it("are gathered in the order of their indices, for any order of axes and element size", () => {
    const cases = fc.record({
      shape: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }),
      keys: fc.array(fc.nat(), { minLength: 4, maxLength: 4 }),
      size: fc.constantFrom(1, 2, 4, 8),
    });
    fc.assert(
      fc.property(cases, ({ shape, keys, size }) => {
        const order = shape.map((_, axis) => axis).sort((a, b) => (keys[a] ?? 0) - (keys[b] ?? 0));
        const strides = order.map((axis) => rowMajorStrides(shape)[axis] ?? 0);
        const view = order.map((axis) => shape[axis] ?? 0);
        const bytes = Uint8Array.from({ length: reachOf(view, strides) * size }, (_, index) => index % 251);
        assert.deepEqual([...gatherStrided(bytes, size, view, strides)], gatheredSlowly(bytes, size, view, strides));
      }),
      { seed: 2 },
    );
  });
});

function gatheredSlowly(bytes: Uint8Array, size: number, shape: number[], strides: number[], at = 0): number[] {
  const [dim, ...inner] = shape;
  const [stride = 0, ...innerStrides] = strides;
  if (dim === undefined) return [...bytes.subarray(at * size, (at + 1) * size)];
  return Array.from({ length: dim }, (_, i) =>
    gatheredSlowly(bytes, size, inner, innerStrides, at + i * stride),
  ).flat();
}
