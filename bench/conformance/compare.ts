import type { Tensor } from "../../src/tensor/tensor.js";

/** One line of the printed table. */
export interface Check {
  readonly what: string;
  readonly passed: boolean;
  /** The difference, or the result if it cannot be compared. */
  readonly found: string;
}

/** Largest difference divided by the largest expected magnitude. */
const TOLERANCE = 1e-4;

/** @param least divisor if all expected magnitudes are smaller, because such values are rounding errors */
export function closeTo(what: string, found: Tensor, expected: Tensor, least = 0, tolerance = TOLERANCE): Check {
  if (found.data.length !== expected.data.length) {
    return { what, passed: false, found: `[${found.shape}], expected [${expected.shape}]` };
  }
  let [difference, largest] = [0, least];
  for (let i = 0; i < expected.data.length; i++) {
    const [a, b] = [Number(found.data[i]), Number(expected.data[i])];
    difference = Math.max(difference, Number.isNaN(a - b) ? Number.POSITIVE_INFINITY : Math.abs(a - b));
    largest = Math.max(largest, Math.abs(b));
  }
  const relative = difference / largest;
  return { what, passed: relative <= tolerance, found: relative.toExponential(1) };
}

export function sameTokens(what: string, found: readonly number[], expected: readonly number[]): Check {
  const passed = found.length === expected.length && found.every((token, index) => token === expected[index]);
  return { what, passed, found: passed ? "identical" : `[${found}], expected [${expected}]` };
}
