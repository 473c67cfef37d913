import assert from "node:assert/strict";
import { formatShape, type Tensor } from "../../src/tensor/tensor.js";

/** Largest difference divided by the largest expected magnitude; Infinity if any difference is NaN. */
export function relativeDifference(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, largest] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    const [a, b] = [found[i] ?? Number.NaN, expected[i] ?? Number.NaN];
    difference = Math.max(difference, Number.isNaN(a - b) ? Number.POSITIVE_INFINITY : Math.abs(a - b));
    largest = Math.max(largest, Math.abs(b));
  }
  return difference === 0 ? 0 : difference / (largest || 1);
}

/** Fails if the counts differ or the relative difference exceeds the tolerance, and reports the difference. */
export function assertClose(
  what: string,
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
): void {
  assert.equal(found.length, expected.length, `${what}: count`);
  const difference = relativeDifference(found, expected);
  assert.ok(difference <= tolerance, `${what}: ${difference.toExponential(1)} is more than ${tolerance}`);
}

/** Applies `assertClose` to float tensors, whose shapes must be equal. */
export function assertTensorClose(what: string, found: Tensor, expected: Tensor, tolerance: number): void {
  assert.equal(formatShape(found.shape), formatShape(expected.shape), `${what}: shape`);
  assertClose(what, found.data as Float32Array, expected.data as Float32Array, tolerance);
}
