import { elementCount, type Tensor } from "../../../src/tensor/tensor.js";

/** Rows of the same shape as one tensor, and back. */

export function stacked(rows: readonly Float32Array[], shape: readonly number[]): Tensor {
  const width = elementCount(shape);
  const data = new Float32Array(rows.length * width);
  rows.forEach((row, index) => {
    data.set(row, index * width);
  });
  return { type: "float32", shape: [rows.length, ...shape], data };
}

/** Without a copy. */
export function rowsOf({ shape: [count = 0, ...inner], data }: Tensor): Float32Array[] {
  const width = elementCount(inner);
  return Array.from({ length: count }, (_, row) =>
    (data as Float32Array).subarray(row * width, (row + 1) * width),
  );
}
