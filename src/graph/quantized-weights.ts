import type { TensorSource } from "../tensor/tensor.js";

/**
 * Sources that quantize a float32 matrix to integers and scales when they are read. Quantization is symmetric: zero
 * remains zero, so no zero points are stored.
 */

/** A quantized matrix: the element at [k, n] is `values` [k, n] * `scales` [n]. */
export interface Int8Matrix {
  /** int8 [K, N] */
  readonly values: TensorSource;
  /** float32 [N] */
  readonly scales: TensorSource;
}

/**
 * Quantizes [K, N] with one scale per column.
 *
 * @param largest the integer of a column's largest magnitude: 127, or 63 for CPUs without VNNI, which add products of
 * two 8-bit numbers in 16 bits and would saturate
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

/** A matrix [K, N] in 4-bit integers, in the layout of ONNX Runtime's MatMulNBits. */
export interface Int4Matrix {
  /** uint8 [N, K / block, block / 2]: two integers from 0 to 15 per byte, low half first; 8 represents zero. */
  readonly values: TensorSource;
  /** float32 [N * K / block] */
  readonly scales: TensorSource;
  readonly block: number;
}

const INT4_ZERO = 8;

/** Quantizes with one scale per column and block of K; the last block is padded with zeros. */
export function int4Blocks(matrix: TensorSource, block: number): Int4Matrix {
  const [rows = 0, columns = 0] = matrix.shape;
  const blocks = Math.ceil(rows / block);
  /** The element of largest magnitude becomes -8, the end of the range that has one more step. */
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
  /** Index of the column's first packed byte. */
  readonly at: number;
}

function packBlock(data: Float32Array, packed: Uint8Array, { scale, columns, column, start, end, at }: Block): void {
  for (let k = start; k < end; k++) {
    const steps = Math.round((data[k * columns + column] as number) / scale) + INT4_ZERO;
    const number = Math.min(15, Math.max(0, steps));
    const byte = at + (k >> 1);
    const old = packed[byte] as number;
    packed[byte] = k % 2 === 0 ? (old & 0xf0) | number : (old & 0x0f) | (number << 4);
  }
}
