import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { EncoderStateCache, type MediumStates } from "../../src/encoding/encoder-state-cache.js";

/** States of the given number of values, 4 bytes each. */
const states = (numbers: number): MediumStates => ({
  modality: "image",
  states: { type: "float32", shape: [1, numbers], data: new Float32Array(numbers) },
});

describe("EncoderStateCache", () => {
  it("discards the least recently used states first", () => {
    const cache = new EncoderStateCache(40);
    for (const key of ["a", "b"]) cache.set(key, states(4));
    assert.equal(cache.bytes, 32);
    assert.ok(cache.get("a"));
    cache.set("c", states(4));
    assert.equal(cache.bytes, 32);
    assert.equal(cache.get("b"), undefined);
    assert.ok(cache.get("a") && cache.get("c"));
  });

  it("discards several entries for a large one", () => {
    const cache = new EncoderStateCache(40);
    for (const key of ["a", "b", "c"]) cache.set(key, states(3));
    const large = states(10);
    cache.set("large", large);
    assert.equal(cache.bytes, 40);
    assert.equal(cache.get("large"), large);
    for (const key of ["a", "b", "c"]) assert.equal(cache.get(key), undefined);
  });

  it("counts a replaced entry only once", () => {
    const cache = new EncoderStateCache(40);
    cache.set("a", states(4));
    const again = states(8);
    cache.set("a", again);
    assert.deepEqual([cache.bytes, cache.get("a")], [32, again]);
  });

  it("keeps neither an entry larger than its capacity nor the entry that it replaces", () => {
    const cache = new EncoderStateCache(40);
    cache.set("a", states(4));
    cache.set("b", states(4));
    cache.set("a", states(11));
    assert.equal(cache.get("a"), undefined);
    assert.ok(cache.get("b"));
    assert.equal(cache.bytes, 16);
  });

  it("keeps nothing without capacity", () => {
    const cache = new EncoderStateCache(0);
    cache.set("a", states(1));
    assert.deepEqual([cache.bytes, cache.get("a")], [0, undefined]);
  });
});
