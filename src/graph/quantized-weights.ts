import type { Shape, TensorSource } from "../tensor/tensor.js";

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

/** A matrix [K, N] in 4- or 8-bit integers, in the layout of ONNX Runtime's MatMulNBits. */
export interface BlockMatrix {
  /** uint8 [N, K / block, block * bits / 8]: in 4 bits, two integers per byte, low half first; 2^(bits - 1) is zero. */
  readonly values: TensorSource;
  /** float32 [N * K / block] */
  readonly scales: TensorSource;
}

export interface BlockOptions {
  readonly bits: 4 | 8;
  /** Number of elements of a column that share a scale. */
  readonly block: number;
  /** Steps between zero and the element of largest magnitude, at most 2^(bits - 1). */
  readonly steps: number;
}

/** Quantizes [K, N] with one scale per column and block of K; the last block is padded with zeros. */
export function blockwise(matrix: TensorSource, { bits, block, steps }: BlockOptions): BlockMatrix {
  const [rows = 0, columns = 0] = matrix.shape;
  const blocks = Math.ceil(rows / block);
  const zero = 2 ** (bits - 1);
  const perByte = 8 / bits;
  /** The element of largest magnitude becomes negative, the end of the range that has one more step. */
  const scaleOf = (data: Float32Array, column: number, start: number) => {
    let extreme = 0;
    for (let k = start; k < Math.min(start + block, rows); k++) {
      const value = data[k * columns + column] as number;
      if (Math.abs(value) > Math.abs(extreme)) extreme = value;
    }
    return extreme === 0 ? 1 : extreme / -steps;
  };
  return {
    values: {
      type: "uint8",
      shape: [columns, blocks, block / perByte],
      read() {
        const data = matrix.read() as Float32Array;
        const values = new Uint8Array((columns * blocks * block) / perByte);
        for (let n = 0; n < columns; n++) {
          for (let start = 0; start < blocks * block; start += block) {
            const scale = scaleOf(data, n, start);
            for (let k = start; k < start + block; k++) {
              const value = k < rows ? (data[k * columns + n] as number) : 0;
              const integer = Math.min(2 * zero - 1, Math.round(value / scale) + zero);
              const place = n * blocks * block + k;
              const byte = Math.floor(place / perByte);
              values[byte] = (values[byte] as number) | (integer << (bits * (place % perByte)));
            }
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

/** The matrix [K, N] in float32 that `blockwise` gives in 8 bits. */
export function dequantizedBlocks({ values, scales }: BlockMatrix, [rows = 0, columns = 0]: Shape): TensorSource {
  const [, blocks = 0, block = 0] = values.shape;
  return {
    type: "float32",
    shape: [rows, columns],
    read() {
      const [integers, factors] = [values.read() as Uint8Array, scales.read() as Float32Array];
      const data = new Float32Array(rows * columns);
      for (let n = 0; n < columns; n++) {
        for (let k = 0; k < rows; k++) {
          const scale = factors[n * blocks + Math.floor(k / block)] as number;
          data[k * columns + n] = ((integers[n * blocks * block + k] as number) - 128) * scale;
        }
      }
      return data;
    },
  };
}
