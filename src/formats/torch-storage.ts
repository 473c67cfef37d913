import { EpalmError } from "../core/errors.js";
import {
  type ElementType,
  elementCount,
  elementSize,
  formatShape,
  type Shape,
  type TensorSource,
  typedArray,
} from "../tensor/tensor.js";
import { MAX_RANK } from "./limits.js";
import { gatherStrided, reachOf, rowMajorStrides } from "./strided.js";
import type { ZipRecord } from "./zip-records.js";

/** The bytes of a storage. */
export type StorageRecord = Pick<ZipRecord, "name" | "size" | "read">;

/** A contiguous sequence of elements that one or more tensors refer to. */
export class TorchStorage {
  readonly type: ElementType;
  /** In elements. */
  readonly length: number;
  readonly #record: StorageRecord;

  /** @throws `invalid_checkpoint` if the record does not contain `length` elements */
  constructor(type: ElementType, length: number, record: StorageRecord) {
    if (record.size !== length * elementSize[type]) {
      throw new EpalmError(
        "invalid_checkpoint",
        `storage ${record.name}: ${length} elements of ${type} take ${length * elementSize[type]} bytes, the record has ${record.size}`,
      );
    }
    this.type = type;
    this.length = length;
    this.#record = record;
  }

  /** The same bytes as elements of another type. @throws `invalid_checkpoint` if their number is not divisible */
  as(type: ElementType): TorchStorage {
    return new TorchStorage(type, (this.length * elementSize[this.type]) / elementSize[type], this.#record);
  }

  /**
   * A tensor in this storage; offset and strides count elements. Tensors that are not row-major are gathered when
   * they are read.
   *
   * @throws `invalid_checkpoint` if the tensor reaches outside the storage, or has more elements than it (an expanded
   * tensor), which bounds the memory that a small file can cause to be allocated
   */
  tensor(offset: number, shape: Shape, strides: Shape): TensorSource {
    const count = elementCount(shape);
    const reach = count === 0 ? 0 : reachOf(shape, strides);
    this.#check(offset, shape, strides, Math.max(count, reach));
    const { type } = this;
    const rowMajor = rowMajorStrides(shape);
    const contiguous = shape.every((dim, axis) => dim === 1 || strides[axis] === rowMajor[axis]);
    const size = elementSize[type];
    const span = () => this.#record.read(offset * size, (offset + reach) * size);
    if (count === 0 || contiguous) return { type, shape, read: () => typedArray(type, span()) };
    return { type, shape, read: () => typedArray(type, gatherStrided(span(), size, shape, strides)) };
  }

  #check(offset: number, shape: Shape, strides: Shape, length: number): void {
    const numbers = [offset, ...shape, ...strides];
    const sound =
      numbers.every((value) => Number.isSafeInteger(value) && value >= 0) &&
      shape.length === strides.length &&
      shape.length <= MAX_RANK &&
      offset + length <= this.length;
    if (!sound) {
      throw new EpalmError(
        "invalid_checkpoint",
        `a tensor of shape ${formatShape(shape.slice(0, MAX_RANK))}, strides ${formatShape(strides.slice(0, MAX_RANK))}` +
          ` and offset ${offset} does not fit storage ${this.#record.name} of ${this.length} elements`,
      );
    }
  }
}
