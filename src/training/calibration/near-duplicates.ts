import { at } from "../../core/at.js";
import { middleBlock, type StateSets } from "./fit-familiarity.js";

/**
 * Two media count as near-duplicates if the states of the middle block are closer than this fraction of the typical
 * distance of two training media, which is the square root of twice the total variance.
 */
const FRACTION = 0.1;

/** For each validation medium that is a near-duplicate of a training medium, the indices of both. */
export function nearDuplicates({
  depth,
  training,
  validation,
}: Pick<StateSets, "depth" | "training" | "validation">): { readonly validation: number; readonly training: number }[] {
  const block = middleBlock(depth);
  const stateOf = (states: Float32Array) => {
    const width = states.length / depth;
    return states.subarray(block * width, (block + 1) * width);
  };
  const known = training.map(stateOf);
  const limit = FRACTION ** 2 * 2 * totalVariance(known);
  return validation.flatMap((states, index) => {
    const own = stateOf(states);
    let nearest = { index: 0, square: Number.POSITIVE_INFINITY };
    for (const [other, state] of known.entries()) {
      const square = squaredDistance(own, state, nearest.square);
      if (square < nearest.square) nearest = { index: other, square };
    }
    return nearest.square < limit ? [{ validation: index, training: nearest.index }] : [];
  });
}

/** Stops at `limit`, as only smaller distances matter. */
function squaredDistance(a: Float32Array, b: Float32Array, limit: number): number {
  let sum = 0;
  for (let i = 0; i < a.length && sum < limit; i++) sum += ((a[i] ?? 0) - (b[i] ?? 0)) ** 2;
  return sum;
}

function totalVariance(rows: readonly Float32Array[]): number {
  let total = 0;
  for (let i = 0; i < at(rows, 0).length; i++) {
    let [sum, squares] = [0, 0];
    for (const row of rows) {
      sum += row[i] ?? 0;
      squares += (row[i] ?? 0) ** 2;
    }
    total += squares / rows.length - (sum / rows.length) ** 2;
  }
  return total;
}
