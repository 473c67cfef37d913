import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { EpalmError } from "../../src/core/errors.js";
import { addDims, broadcastShapes, compatibleDims, remainingDim, unknownDim } from "../../src/graph/dims.js";
import type { Dim } from "../../src/graph/ir.js";

/** Values of the named sizes in one run. */
type Sizes = Readonly<Record<string, number>>;

const NAMES = ["batch", "past", "step"] as const;

/** The value of a size in a run: `step*3+1` with step 4 is 13. */
function sizeOf(dim: Dim, sizes: Sizes): number {
  const factor = (text: string) => sizes[text] ?? Number(text);
  const product = (text: string) => text.split("*").reduce((total, part) => total * factor(part), 1);
  return String(dim)
    .split("+")
    .reduce((total, term) => total + product(term), 0);
}

const sizes = fc.record({
  batch: fc.integer({ min: 1, max: 9 }),
  past: fc.integer({ min: 0, max: 9 }),
  step: fc.integer({ min: 1, max: 9 }),
});
const plain: fc.Arbitrary<Dim> = fc.oneof(fc.constantFrom(...NAMES), fc.integer({ min: 1, max: 12 }));
const sum = fc.array(plain, { minLength: 1, maxLength: 3 }).map((dims) => dims.reduce(addDims));
const shape = fc.array(sum, { maxLength: 4 });

const volume = (dims: readonly Dim[], at: Sizes) => dims.reduce<number>((all, dim) => all * sizeOf(dim, at), 1);

describe("symbolic sizes", () => {
  it("add like the numbers that they stand for", () => {
    fc.assert(
      fc.property(sum, sum, sizes, (a, b, at) => {
        assert.equal(sizeOf(addDims(a, b), at), sizeOf(a, at) + sizeOf(b, at));
      }),
      { seed: 1 },
    );
  });

  it("have equal names if their sums are equal, in any order of addition", () => {
    fc.assert(
      fc.property(fc.array(plain, { minLength: 1, maxLength: 5 }), (dims) => {
        assert.equal(dims.reduce(addDims), dims.toReversed().reduce(addDims));
      }),
      { seed: 1 },
    );
  });

  it("are simplified", () => {
    assert.equal(addDims("step+2", -2), "step");
    assert.equal(addDims("step", "step"), "step*2");
  });

  it("determine the remaining size of a reshape", () => {
    fc.assert(
      fc.property(shape, fc.nat(3), sizes, (from, count, at) => {
        const known = from.slice(0, count);
        const rest = remainingDim(from, known, "test");
        assert.equal(sizeOf(rest, at) * volume(known, at), volume(from, at));
      }),
      { seed: 1 },
    );
  });

  it("give the correct remaining size of any reshape, or an error that names it", () => {
    fc.assert(
      fc.property(shape, shape, sizes, (from, known, at) => {
        try {
          const rest = remainingDim(from, known, "Reshape 'r'");
          assert.equal(sizeOf(rest, at) * volume(known, at), volume(from, at));
        } catch (error) {
          assert.ok(error instanceof EpalmError, String(error));
          assert.match(error.message, /^Reshape 'r': \[.*\] cannot be reshaped to hold/);
        }
      }),
      { seed: 1 },
    );
  });

  it("are expanded, so that a product can be divided again", () => {
    const joined = remainingDim(["batch", "past+step", 8], [8], "test");
    assert.equal(joined, "batch*past+batch*step");
    assert.equal(remainingDim([joined, 8], [joined], "test"), 8);
    assert.equal(remainingDim(["step*3"], [3], "test"), "step");
    assert.equal(remainingDim(["step*3+6"], [3], "test"), "step+2");
  });

  it("broadcast as in numpy", () => {
    const axis = fc.oneof(fc.constant(1), fc.constantFrom(...NAMES), fc.constantFrom(2, 3));
    fc.assert(
      fc.property(fc.array(axis, { maxLength: 4 }), fc.array(fc.boolean(), { maxLength: 4 }), (full, ones) => {
        // Dropping leading axes and replacing others by 1 must restore the full shape.
        const part = full.slice(Math.max(0, full.length - ones.length)).map((dim, i) => (ones[i] ? 1 : dim));
        assert.deepEqual(broadcastShapes(full, part, "test"), full);
        assert.deepEqual(broadcastShapes(part, full, "test"), full);
      }),
      { seed: 1 },
    );
  });

  it("are compatible with sizes that are known only at run time, and with no other number", () => {
    assert.ok(compatibleDims("batch", "batch"));
    assert.ok(compatibleDims("past+step", unknownDim("part0")));
    assert.ok(compatibleDims(4, unknownDim("size1")));
    assert.ok(!compatibleDims(4, "batch"));
    assert.ok(!compatibleDims("batch", 4));
    assert.ok(!compatibleDims(3, 4));
  });
});
