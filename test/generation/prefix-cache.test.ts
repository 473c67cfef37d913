import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { DecoderShape } from "../../src/backbones/backbone.js";
import { KeyValueCache } from "../../src/generation/key-value-cache.js";
import { type CachedPrefix, PrefixCache } from "../../src/generation/prefix-cache.js";

/** A prefix of 80 bytes. */
function prefix(value: number): CachedPrefix {
  return { count: 1, layers: [{ keys: new Float32Array(10).fill(value), values: new Float32Array(10).fill(value) }] };
}

describe("PrefixCache", () => {
  it("keeps the prefixes that were used last, within its limit", () => {
    const cache = new PrefixCache(200);
    cache.put("a", prefix(1));
    cache.put("b", prefix(2));
    assert.equal(cache.take("a")?.layers[0]?.keys[0], 1);
    cache.put("c", prefix(3));
    assert.deepEqual([cache.count("a"), cache.count("b"), cache.count("c")], [1, undefined, 1]);
    assert.equal(cache.bytes, 160);
  });

  it("keeps nothing that exceeds its limit, and the first of two with the same key", () => {
    const cache = new PrefixCache(79);
    cache.put("a", prefix(1));
    assert.deepEqual([cache.count("a"), cache.bytes], [undefined, 0]);
    const larger = new PrefixCache(100);
    larger.put("a", prefix(1));
    larger.put("a", prefix(2));
    assert.deepEqual([larger.take("a")?.layers[0]?.keys[0], larger.bytes], [1, 80]);
  });
});

describe("a KeyValueCache", () => {
  const shape: DecoderShape = {
    layers: 2,
    width: 8,
    embeddingWidth: 8,
    attention: { heads: 4, keyHeads: 2, headSize: 2 },
    vocabulary: 10,
    positions: 100,
  };

  it("copies the beginning of a row, and fills that of another row of another cache", () => {
    const columns = 3;
    const heads = 2 * shape.layers * shape.attention.keyHeads;
    const data = Float32Array.from({ length: heads * columns * 2 }, (_, at) => at);
    const first = new KeyValueCache(shape);
    first.reserve(2, columns);
    const fresh = { type: "float32", shape: [1, heads, columns, 2], data } as const;
    first.append(fresh, [{ cacheIndex: 1, stepIndex: 0, from: 0, to: columns, at: 0 }]);
    const copied = first.prefixOf(1, 2);
    first.clear();

    const second = new KeyValueCache(shape);
    second.reserve(3, 130);
    second.restore(2, copied);
    const again = second.prefixOf(2, 2);
    assert.deepEqual(again, copied);
    // Layer 1, values, head 1: the last of the heads in the step.
    assert.deepEqual([...(copied.layers[1]?.values ?? [])].slice(4), [
      ...data.subarray((heads - 1) * 6, (heads - 1) * 6 + 4),
    ]);
  });
});
