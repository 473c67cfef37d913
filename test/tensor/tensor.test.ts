import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  bytesOf,
  constantSource,
  type ElementType,
  elementCount,
  elementSize,
  typedArray,
} from "../../src/tensor/tensor.js";

const types = Object.keys(elementSize) as ElementType[];

describe("typed arrays over bytes", () => {
  for (const type of types) {
    it(`use aligned bytes in place and copy unaligned ones: ${type}`, () => {
      const size = elementSize[type];
      // Use a Buffer, whose `slice` does not copy.
      const store = Buffer.from(new ArrayBuffer(8 * 4));
      store.forEach((_, i) => {
        store[i] = 7 * i + 1;
      });
      for (const start of [0, 1, 2, 3, 4, 8]) {
        const bytes = store.subarray(start, start + 2 * size);
        const array = typedArray(type, bytes);
        assert.equal(array.length, 2);
        assert.deepEqual(bytesOf(array), new Uint8Array(bytes), `from byte ${start}`);
        assert.equal(array.buffer === store.buffer, start % size === 0, `from byte ${start}`);
      }
    });
  }

  it("are rejected if the bytes are not a whole number of elements", () => {
    const message = /6 bytes are not a whole number of float32 elements/;
    assert.throws(() => typedArray("float32", new Uint8Array(6)), { code: "internal", message });
  });

  it("are empty over no bytes", () => {
    for (const type of types) assert.equal(typedArray(type, new Uint8Array()).length, 0);
  });
});

describe("constant sources", () => {
  it("return a new array for each read", () => {
    const data = Float32Array.of(1, 2);
    const source = constantSource("float32", [2], data);
    source.read()[0] = 9;
    assert.deepEqual(source.read(), Float32Array.of(1, 2));
  });
});

describe("element counts", () => {
  it("are products of the sizes, 1 without axes and 0 if an axis is empty", () => {
    assert.deepEqual([[], [3], [2, 3], [2, 0, 5]].map(elementCount), [1, 3, 6, 0]);
  });
});
