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
    it(`look at aligned bytes in place, and copy those that lie between: ${type}`, () => {
      const size = elementSize[type];
      // A Buffer, whose `slice` would not copy.
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

  it("are refused where bytes are left over", () => {
    const message = /6 bytes are not a whole number of float32 elements/;
    assert.throws(() => typedArray("float32", new Uint8Array(6)), { code: "internal", message });
  });

  it("are empty over no bytes", () => {
    for (const type of types) assert.equal(typedArray(type, new Uint8Array()).length, 0);
  });
});

describe("constant sources", () => {
  it("give an array of its own to each reader", () => {
    const data = Float32Array.of(1, 2);
    const source = constantSource("float32", [2], data);
    source.read()[0] = 9;
    assert.deepEqual(source.read(), Float32Array.of(1, 2));
  });
});

describe("element counts", () => {
  it("are products, 1 without axes and 0 where an axis is empty", () => {
    assert.deepEqual([[], [3], [2, 3], [2, 0, 5]].map(elementCount), [1, 3, 6, 0]);
  });
});
