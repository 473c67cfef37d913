import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { KeySet } from "../../src/core/key-set.js";

describe("a set of keys", () => {
  it("contains exactly the strings that were added, however many there are", () => {
    const set = new KeySet();
    for (let at = 0; at < 20_000; at++) assert.equal(set.add(`key ${at}`), true);
    assert.equal(set.size, 20_000);
    for (let at = 0; at < 20_000; at++) assert.ok(set.has(`key ${at}`));
    for (let at = 20_000; at < 40_000; at++) assert.ok(!set.has(`key ${at}`));
    assert.equal(set.add("key 7"), false);
    assert.equal(set.size, 20_000);
  });
});
