import type { Shape } from "../tensor/tensor.js";

/** Strides in elements of a tensor in row-major order. */
export function rowMajorStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    strides[axis] = (strides[axis + 1] ?? 1) * (shape[axis + 1] ?? 1);
  }
  return strides;
}

/** Distance in elements from the first element of a non-empty tensor to the end of its last one. */
export function reachOf(shape: Shape, strides: Shape): number {
  return shape.reduce((last, dim, axis) => last + (dim - 1) * (strides[axis] ?? 0), 1);
}

/** The elements of a strided tensor in row-major order, as bytes. Elements have `size` bytes. */
export function gatherStrided(
  bytes: Uint8Array<ArrayBuffer>,
  size: number,
  shape: Shape,
  strides: Shape,
): Uint8Array<ArrayBuffer> {
  const count = shape.reduce((product, dim) => product * dim, 1);
  const out = new Uint8Array(count * size);
  gather(words(bytes, size), words(out, size), shape, strides);
  return out;
}

/** Elements that are copied without being interpreted. */
interface Words {
  readonly length: number;
  [index: number]: number | bigint;
}

function words({ buffer, byteOffset, length }: Uint8Array<ArrayBuffer>, size: number): Words {
  if (size === 8) return new BigUint64Array(buffer, byteOffset, length / size);
  if (size === 4) return new Uint32Array(buffer, byteOffset, length / size);
  if (size === 2) return new Uint16Array(buffer, byteOffset, length / size);
  return new Uint8Array(buffer, byteOffset, length);
}

/** Iterates over all indices like an odometer and updates the position in `from` incrementally. */
function gather(from: Words, to: Words, shape: Shape, strides: Shape): void {
  const index = new Array<number>(shape.length).fill(0);
  let position = 0;
  for (let i = 0; i < to.length; i++) {
    to[i] = from[position] as number | bigint;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const stride = strides[axis] as number;
      const next = (index[axis] as number) + 1;
      position += stride;
      if (next < (shape[axis] as number)) {
        index[axis] = next;
        break;
      }
      index[axis] = 0;
      position -= next * stride;
    }
  }
}
