import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { EpalmError } from "../../src/core/errors.js";
import { concatenatedRows, reshaped, slicedRows, transposed } from "../../src/tensor/source-recipes.js";
import { constantSource, type TensorSource } from "../../src/tensor/tensor.js";

/** `[rows, columns]` with the values 0, 1, 2, … */
function counting(rows: number, columns: number): TensorSource {
  return constantSource(
    "float32",
    [rows, columns],
    Float32Array.from({ length: rows * columns }, (_, i) => i),
  );
}

describe("source recipes", () => {
  it("transpose matrices of any size", () => {
    fc.assert(
      fc.property(fc.nat(70), fc.nat(70), (rows, columns) => {
        const source = transposed(counting(rows, columns));
        assert.deepEqual(source.shape, [columns, rows]);
        const expected = Array.from({ length: rows * columns }, (_, i) => (i % rows) * columns + Math.floor(i / rows));
        assert.deepEqual(source.read(), Float32Array.from(expected));
      }),
      { numRuns: 50, seed: 3 },
    );
  });

  it("slice rows and concatenate them again", () => {
    const whole = counting(5, 3);
    const joined = concatenatedRows([slicedRows(whole, 0, 2), slicedRows(whole, 2, 2), slicedRows(whole, 2, 5)]);
    assert.deepEqual(joined.shape, [5, 3]);
    assert.deepEqual(joined.read(), whole.read());
    assert.deepEqual(slicedRows(whole, 4, 5).read(), new Float32Array([12, 13, 14]));
  });

  it("keep the elements when reshaping", () => {
    const source = reshaped(counting(2, 3), [3, 1, 2]);
    assert.deepEqual(source.shape, [3, 1, 2]);
    assert.deepEqual(source.read(), counting(2, 3).read());
  });

  it("do not read their sources before they are read themselves", () => {
    const unread: TensorSource = { type: "float32", shape: [2, 2], read: () => assert.fail("was read") };
    concatenatedRows([slicedRows(transposed(reshaped(unread, [2, 2])), 0, 1), unread]);
  });

  const bytes = constantSource("uint8", [2, 2], new Uint8Array(4));
  const misuses: [string, () => TensorSource][] = [
    ["transposing a tensor that is not a matrix", () => transposed(reshaped(counting(2, 2), [4]))],
    ["transposing elements that are not float32", () => transposed(bytes)],
    ["rows beyond the end", () => slicedRows(counting(2, 2), 1, 3)],
    ["rows that run backwards", () => slicedRows(counting(2, 2), 2, 1)],
    ["rows of a scalar", () => slicedRows(constantSource("float32", [], new Float32Array(1)), 0, 0)],
    ["concatenating nothing", () => concatenatedRows([])],
    ["concatenating rows of different lengths", () => concatenatedRows([counting(1, 2), counting(1, 3)])],
    ["concatenating elements of different types", () => concatenatedRows([counting(1, 2), bytes])],
    ["a shape of another size", () => reshaped(counting(2, 2), [5])],
    ["a shape of negative sizes", () => reshaped(counting(2, 2), [-2, -2])],
  ];
  for (const [what, make] of misuses) {
    it(`reject ${what}`, () => assert.throws(make, EpalmError));
  }
});
