import assert from "node:assert/strict";
import { formatShape, type Tensor } from "../../src/tensor/tensor.js";

/** Largest difference over the largest expected number; NaN anywhere counts as infinitely far. */
export function relativeDifference(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, largest] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    const [a, b] = [found[i] ?? Number.NaN, expected[i] ?? Number.NaN];
    difference = Math.max(difference, Number.isNaN(a - b) ? Number.POSITIVE_INFINITY : Math.abs(a - b));
    largest = Math.max(largest, Math.abs(b));
  }
  return difference === 0 ? 0 : difference / (largest || 1);
}

/** Fails, saying by how much, where numbers are too many, too few, or too far away. */
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

/** As `assertClose`, of float tensors of one shape. */
export function assertTensorClose(what: string, found: Tensor, expected: Tensor, tolerance: number): void {
  assert.equal(formatShape(found.shape), formatShape(expected.shape), `${what}: shape`);
  assertClose(what, found.data as Float32Array, expected.data as Float32Array, tolerance);
}
