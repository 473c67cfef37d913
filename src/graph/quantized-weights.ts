import type { TensorSource } from "../tensor/tensor.js";

/**
 * Recipes that turn a float32 matrix into integers and scales when they are read. Symmetric: zero stays zero,
 * so that no zero points are stored.
 */

/** A matrix in integers: the number at [k, n] is `values` [k, n] * `scales` [n]. */
export interface Int8Matrix {
  /** int8 [K, N] */
  readonly values: TensorSource;
  /** float32 [N] */
  readonly scales: TensorSource;
}

/**
 * One scale per column of [K, N].
 *
 * @param largest what the largest number of a column becomes: 127, or 63 where products of two 8-bit numbers
 *   are added in 16 bits (CPUs without VNNI) and would saturate
 */
export function int8Columns(matrix: TensorSource, largest: number): Int8Matrix {
  const [rows = 0, columns = 0] = matrix.shape;
  const scalesOf = (data: Float32Array) => {
    const scales = new Float32Array(columns);
    for (let k = 0; k < rows; k++) {
      for (let n = 0; n < columns; n++) {
        const size = Math.abs(data[k * columns + n] as number);
        if (size > (scales[n] as number)) scales[n] = size;
      }
    }
    return scales.map((size) => (size === 0 ? 1 : size / largest));
  };
  return {
    values: {
      type: "int8",
      shape: [rows, columns],
      read() {
        const data = matrix.read() as Float32Array;
        const factors = scalesOf(data).map((scale) => 1 / scale);
        const values = new Int8Array(data.length);
        for (let k = 0; k < rows; k++) {
          for (let n = 0; n < columns; n++) {
            const at = k * columns + n;
            values[at] = Math.round((data[at] as number) * (factors[n] as number));
          }
        }
        return values;
      },
    },
    scales: { type: "float32", shape: [columns], read: () => scalesOf(matrix.read() as Float32Array) },
  };
}

/** A matrix [K, N] in 4-bit numbers, in the layout of ONNX Runtime's MatMulNBits. */
export interface Int4Matrix {
  /** uint8 [N, K / block, block / 2]: two numbers of 0..15 a byte, low half first; 8 is zero. */
  readonly values: TensorSource;
  /** float32 [N * K / block] */
  readonly scales: TensorSource;
  readonly block: number;
}

const INT4_ZERO = 8;

/** One scale per column and block of K; the last block is filled up with zeros. */
export function int4Blocks(matrix: TensorSource, block: number): Int4Matrix {
  const [rows = 0, columns = 0] = matrix.shape;
  const blocks = Math.ceil(rows / block);
  /** The number of largest size becomes -8, the end of the range that has one step more. */
  const scaleOf = (data: Float32Array, column: number, start: number) => {
    let extreme = 0;
    for (let k = start; k < Math.min(start + block, rows); k++) {
      const value = data[k * columns + column] as number;
      if (Math.abs(value) > Math.abs(extreme)) extreme = value;
    }
    return extreme === 0 ? 1 : extreme / -INT4_ZERO;
  };
  return {
    block,
    values: {
      type: "uint8",
      shape: [columns, blocks, block / 2],
      read() {
        const data = matrix.read() as Float32Array;
        const values = new Uint8Array((columns * blocks * block) / 2).fill(INT4_ZERO * 0x11);
        for (let n = 0; n < columns; n++) {
          for (let k = 0; k < rows; k += block) {
            const scale = scaleOf(data, n, k);
            packBlock(data, values, {
              scale,
              columns,
              column: n,
              start: k,
              end: Math.min(k + block, rows),
              at: (n * blocks * block) / 2,
            });
          }
        }
        return values;
      },
    },
    scales: {
      type: "float32",
      shape: [columns * blocks],
      read() {
        const data = matrix.read() as Float32Array;
        return Float32Array.from({ length: columns * blocks }, (_, index) =>
          scaleOf(data, Math.floor(index / blocks), (index % blocks) * block),
        );
      },
    },
  };
}

interface Block {
  readonly scale: number;
  readonly columns: number;
  readonly column: number;
  readonly start: number;
  readonly end: number;
  /** Where the column begins among the packed bytes. */
  readonly at: number;
}

function packBlock(
  data: Float32Array,
  packed: Uint8Array,
  { scale, columns, column, start, end, at }: Block,
): void {
  for (let k = start; k < end; k++) {
    const steps = Math.round((data[k * columns + column] as number) / scale) + INT4_ZERO;
    const number = Math.min(15, Math.max(0, steps));
    const byte = at + (k >> 1);
    const old = packed[byte] as number;
    packed[byte] = k % 2 === 0 ? (old & 0xf0) | number : (old & 0x0f) | (number << 4);
  }
}
