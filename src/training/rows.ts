import { elementCount, floats, type Tensor } from "../tensor/tensor.js";

/** Stacks rows of the same shape into one tensor [rows, ...shape]. */
export function stacked(rows: readonly Float32Array[], shape: readonly number[]): Tensor {
  const width = elementCount(shape);
  const data = new Float32Array(rows.length * width);
  rows.forEach((row, index) => {
    data.set(row, index * width);
  });
  return { type: "float32", shape: [rows.length, ...shape], data };
}

/** Views of the rows of a tensor; the data are not copied. */
export function rowsOf(tensor: Tensor): Float32Array[] {
  const [count = 0, ...inner] = tensor.shape;
  const [data, width] = [floats(tensor), elementCount(inner)];
  return Array.from({ length: count }, (_, row) => data.subarray(row * width, (row + 1) * width));
}
