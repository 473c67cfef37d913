import assert from "node:assert/strict";
import { test } from "node:test";
import { HashSet } from "../../../src/cli/bulk/hash-set.js";

test("a set of hashes contains what was added, and says what is new", () => {
  const set = new HashSet();
  const names = Array.from({ length: 20_000 }, (_, at) => `photos/${at}.jpg`);
  assert.ok(names.every((name) => set.add(name)));
  assert.ok(names.every((name) => set.has(name) && !set.add(name)));
  assert.equal(set.size, names.length);
  assert.ok(!names.some((name) => set.has(`${name}x`)));
});
