/**
 * Tensors derived lazily from other tensors: the shape is known and checked at once, `read` computes the data, and
 * nothing is kept in between. A shape that does not fit is a bug in the caller and throws `internal`.
 */
import { EpalmError } from "../core/errors.js";
import {
  bytesOf,
  elementCount,
  elementSize,
  formatShape,
  type Shape,
  sameShape,
  type TensorSource,
  typedArray,
} from "./tensor.js";

/** Rows and columns of a block: a source and a target block of float32 fit a level 1 cache of 32 KB together. */
const BLOCK = 32;

/** Transposes `[rows, columns]` of float32 to `[columns, rows]`. */
export function transposed(source: TensorSource): TensorSource {
  const [rows, columns, ...others] = source.shape;
  if (rows === undefined || columns === undefined || others.length > 0 || source.type !== "float32") {
    throw misuse(`transposed takes 2 axes of float32, got ${describe(source)}`);
  }
  return {
    type: "float32",
    shape: [columns, rows],
    read() {
      const data = source.read();
      if (!(data instanceof Float32Array)) throw misuse("a float32 source returned elements of another type");
      return transpose(data, rows, columns);
    },
  };
}

function transpose(from: Float32Array, rows: number, columns: number): Float32Array {
  const to = new Float32Array(from.length);
  for (let rowBlock = 0; rowBlock < rows; rowBlock += BLOCK) {
    const rowEnd = Math.min(rowBlock + BLOCK, rows);
    for (let columnBlock = 0; columnBlock < columns; columnBlock += BLOCK) {
      const columnEnd = Math.min(columnBlock + BLOCK, columns);
      for (let row = rowBlock; row < rowEnd; row++) {
        for (let column = columnBlock; column < columnEnd; column++) {
          to[column * rows + row] = from[row * columns + column] as number;
        }
      }
    }
  }
  return to;
}

/** Rows `start` to `end` (exclusive) along the first axis. */
export function slicedRows(source: TensorSource, start: number, end: number): TensorSource {
  const [rows, ...rowShape] = source.shape;
  const inside = Number.isInteger(start) && Number.isInteger(end) && start >= 0 && start <= end;
  if (rows === undefined || !inside || end > rows) {
    throw misuse(`rows ${start} to ${end} are not inside ${describe(source)}`);
  }
  const rowLength = elementCount(rowShape);
  return {
    type: source.type,
    shape: [end - start, ...rowShape],
    read: () => source.read().slice(start * rowLength, end * rowLength),
  };
}

/** Concatenates tensors of the same type and row shape along the first axis. */
export function concatenatedRows(sources: readonly TensorSource[]): TensorSource {
  const [first] = sources;
  if (!first) throw misuse("concatenatedRows takes at least one tensor");
  const { type } = first;
  const rowShape = first.shape.slice(1);
  const fits = (source: TensorSource) =>
    source.type === type && source.shape.length > 0 && sameShape(source.shape.slice(1), rowShape);
  const misfit = sources.find((source) => !fits(source));
  if (misfit) throw misuse(`rows of ${describe(first)} and ${describe(misfit)} cannot be concatenated`);
  const shape = [sources.reduce((rows, source) => rows + (source.shape[0] ?? 0), 0), ...rowShape];
  return {
    type,
    shape,
    read() {
      const bytes = new Uint8Array(elementCount(shape) * elementSize[type]);
      let offset = 0;
      for (const source of sources) {
        const part = bytesOf(source.read());
        bytes.set(part, offset);
        offset += part.length;
      }
      return typedArray(type, bytes);
    },
  };
}

/** The same elements with another shape. */
export function reshaped(source: TensorSource, shape: Shape): TensorSource {
  const wholeDims = shape.every((dim) => Number.isInteger(dim) && dim >= 0);
  if (!wholeDims || elementCount(shape) !== elementCount(source.shape)) {
    throw misuse(`${describe(source)} cannot be reshaped to ${formatShape(shape)}`);
  }
  return { type: source.type, shape, read: () => source.read() };
}

function describe(source: TensorSource): string {
  return `${source.type} ${formatShape(source.shape)}`;
}

function misuse(message: string): EpalmError {
  return new EpalmError("internal", message);
}
