import { EpalmError } from "../core/errors.js";

/** Element types of tensors in checkpoints and graphs. */
export type ElementType =
  | "float64"
  | "float32"
  | "float16"
  | "bfloat16"
  | "int64"
  | "int32"
  | "int16"
  | "int8"
  | "uint8"
  | "bool";

/** Elements of a tensor. 16-bit floats are kept as raw bits, which `toFloat32` converts. */
export type TypedArray =
  | Float64Array
  | Float32Array
  | Uint16Array
  | BigInt64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint8Array;

export const elementSize: Readonly<Record<ElementType, number>> = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint8: 1,
  bool: 1,
};

export type Shape = readonly number[];

/** A tensor in memory, in row-major order. */
export interface Tensor {
  readonly type: ElementType;
  readonly shape: Shape;
  readonly data: TypedArray;
}

/**
 * A tensor whose data stays in a file, or is computed from other sources, until it is read. Each call of `read`
 * returns a new array that the caller owns, so that a model can be built one tensor at a time.
 */
export interface TensorSource {
  readonly type: ElementType;
  readonly shape: Shape;
  read(): TypedArray;
}

/** The number of elements; 1 for a scalar. */
export function elementCount(shape: Shape): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

export function sameShape(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((dim, index) => dim === b[index]);
}

/** `[2, 3]` as a string, for messages. */
export function formatShape(shape: readonly (number | string)[]): string {
  return `[${shape.join(", ")}]`;
}

/** Interprets bytes as elements, and copies them only if the alignment requires it. @throws `internal` */
export function typedArray(type: ElementType, bytes: Uint8Array): TypedArray {
  const size = elementSize[type];
  // `slice` would not help: that of a Buffer copies nothing.
  const aligned = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  const count = aligned.byteLength / size;
  if (!Number.isInteger(count)) {
    throw new EpalmError("internal", `${aligned.byteLength} bytes are not a whole number of ${type} elements`);
  }
  const { buffer, byteOffset } = aligned;
  switch (type) {
    case "float64":
      return new Float64Array(buffer, byteOffset, count);
    case "float32":
      return new Float32Array(buffer, byteOffset, count);
    case "float16":
    case "bfloat16":
      return new Uint16Array(buffer, byteOffset, count);
    case "int64":
      return new BigInt64Array(buffer, byteOffset, count);
    case "int32":
      return new Int32Array(buffer, byteOffset, count);
    case "int16":
      return new Int16Array(buffer, byteOffset, count);
    case "int8":
      return new Int8Array(buffer, byteOffset, count);
    case "uint8":
    case "bool":
      return new Uint8Array(buffer, byteOffset, count);
    default:
      return type satisfies never;
  }
}

/**
 * The values of a float32 tensor, without a copy.
 *
 * @throws internal if it is missing or of another type
 */
export function floats(tensor: Pick<Tensor, "data"> | undefined): Float32Array {
  if (tensor?.data instanceof Float32Array) return tensor.data;
  throw new EpalmError("internal", `expected a float32 tensor, got ${tensor?.data.constructor.name ?? "none"}`);
}

/** The bytes of an array, without copying. */
export function bytesOf(data: TypedArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** A source of values that are in memory. Each `read` returns a copy. */
export function constantSource(type: ElementType, shape: Shape, data: TypedArray): TensorSource {
  return { type, shape, read: () => data.slice() };
}
