import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { EMPTY_TIME, KeyValueCache } from "../../src/generation/key-value-cache.js";
import type { Tensor } from "../../src/tensor/tensor.js";

const [LAYERS, KEY_HEADS, HEAD_SIZE] = [2, 2, 3];

const shape = {
  layers: LAYERS,
  width: 12,
  embeddingWidth: 12,
  attention: { heads: 4, keyHeads: KEY_HEADS, headSize: HEAD_SIZE },
  vocabulary: 10,
  positions: 512,
};

/** A unique number for each element, part and channel of the cache. */
function number(element: number, part: number, channel: number): number {
  return (element * 2 * LAYERS * KEY_HEADS + part) * HEAD_SIZE + channel + 1;
}

/** `new_keys_values` of a step: row r has `elements[r]` in its columns and is padded on the right. */
function fresh(elements: readonly (readonly number[])[]): Tensor {
  const columns = Math.max(...elements.map((row) => row.length));
  const parts = 2 * LAYERS * KEY_HEADS;
  const data = new Float32Array(elements.length * parts * columns * HEAD_SIZE).fill(-1);
  elements.forEach((row, index) => {
    for (let part = 0; part < parts; part++) {
      row.forEach((element, column) => {
        for (let channel = 0; channel < HEAD_SIZE; channel++) {
          const at = ((index * parts + part) * columns + column) * HEAD_SIZE + channel;
          data[at] = number(element, part, channel);
        }
      });
    }
  });
  return { type: "float32", shape: [elements.length, parts, columns, HEAD_SIZE], data };
}

function append(cache: KeyValueCache, rows: readonly { readonly at: number; readonly elements: readonly number[] }[]) {
  cache.append(
    fresh(rows.map(({ elements }) => elements)),
    rows.map(({ at, elements }, row) => ({
      cacheIndex: row,
      stepIndex: row,
      from: 0,
      to: elements.length,
      at,
    })),
  );
}

/** Compares the first `elements[r].length` positions of the rows from `first` on, in every layer, head and channel. */
function assertHolds(cache: KeyValueCache, first: number, elements: readonly (readonly number[])[]): void {
  const feeds = cache.feeds(first, elements.length, false);
  for (let part = 0; part < 2 * LAYERS * KEY_HEADS; part++) {
    const [layer, within] = [Math.floor(part / (2 * KEY_HEADS)), part % (2 * KEY_HEADS)];
    const view = feeds[`past_${within < KEY_HEADS ? "keys" : "values"}.${layer}`];
    assert.deepEqual(view?.shape, [elements.length, KEY_HEADS, cache.capacity, HEAD_SIZE]);
    elements.forEach((row, index) => {
      const start = (index * KEY_HEADS + (within % KEY_HEADS)) * cache.capacity * HEAD_SIZE;
      const expected = row.flatMap((element) =>
        Array.from({ length: HEAD_SIZE }, (_, channel) => number(element, part, channel)),
      );
      const found = Array.from(view?.data.slice(start, start + expected.length) ?? [], Number);
      assert.deepEqual(found, expected, `row ${first + index}, part ${part}`);
    });
  }
}

function filled(rows: readonly (readonly number[])[]): KeyValueCache {
  const cache = new KeyValueCache(shape);
  cache.reserve(rows.length, Math.max(...rows.map((row) => row.length)));
  append(
    cache,
    rows.map((elements) => ({ at: 0, elements })),
  );
  return cache;
}

describe("KeyValueCache", () => {
  const rows = [[10, 11, 12], [20, 21], [30], [40, 41, 42, 43]];
  const orders: [string, (number | undefined)[]][] = [
    ["keeps rows in place", [0, 1, 2, 3]],
    ["swaps two rows", [1, 0, 2, 3]],
    ["rotates a cycle of rows", [1, 2, 3, 0]],
    ["rotates two cycles", [1, 0, 3, 2]],
    ["forks one row", [2, 2, 2, 2]],
    ["forks rows of a cycle", [1, 0, 0, 1, 1]],
    ["drops rows", [3]],
    ["adds empty rows between others", [0, undefined, 1, undefined, 2]],
  ];
  for (const [what, sources] of orders) {
    it(what, () => {
      const cache = filled(rows);
      const expected = sources.map((source) => (source === undefined ? [] : (rows[source] ?? [])));
      cache.reorder(
        sources,
        expected.map((row) => row.length),
      );
      cache.reserve(sources.length, 0);
      assertHolds(cache, 0, expected);
    });
  }

  it("keeps its content when it grows in rows and in time", () => {
    const cache = filled(rows);
    const before = cache.bytes;
    cache.reserve(7, 300);
    assert.ok(cache.capacity >= 300 && cache.bytes > before);
    assertHolds(cache, 0, rows);
  });

  it("returns views of a range of rows, and masked positions if nothing is cached", () => {
    const cache = filled(rows);
    assertHolds(cache, 1, rows.slice(1, 3));
    assert.deepEqual(cache.feeds(1, 2, true)["past_keys.0"]?.shape, [2, KEY_HEADS, EMPTY_TIME, HEAD_SIZE]);
  });

  it("updates existing views when columns are stored", () => {
    const cache = filled(rows);
    const view = cache.feeds(0, 4, false);
    append(cache, [{ at: 3, elements: [13] }]);
    assert.equal(cache.feeds(0, 4, false), view);
    assertHolds(cache, 0, [[10, 11, 12, 13]]);
  });

  it("stores only the kept columns", () => {
    const cache = filled(rows);
    cache.append(fresh([[98, 99, 22, 97]]), [{ cacheIndex: 1, stepIndex: 0, from: 2, to: 3, at: 2 }]);
    assertHolds(cache, 0, [rows[0] ?? [], [20, 21, 22], rows[2] ?? []]);
  });

  it("frees its memory", () => {
    const cache = filled(rows);
    cache.clear();
    assert.deepEqual([cache.bytes, cache.capacity], [0, 0]);
    cache.reserve(1, 1);
    append(cache, [{ at: 0, elements: [5] }]);
    assertHolds(cache, 0, [[5]]);
  });

  it("behaves like an array of rows under any sequence of operations", () => {
    const step = fc.record({
      /** Sources modulo the number of rows; null adds an empty row. */
      sources: fc.array(fc.option(fc.nat(999), { freq: 4 }), { minLength: 1, maxLength: 7 }),
      cut: fc.nat(3),
      appended: fc.integer({ min: 1, max: 40 }),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
        const cache = new KeyValueCache(shape);
        let model: number[][] = [];
        let unused = 0;
        for (const { sources, cut, appended } of steps) {
          const chosen = sources.map((at) => (at === null || model.length === 0 ? undefined : at % model.length));
          const kept = chosen.map((source) => {
            const row = source === undefined ? [] : (model[source] ?? []);
            return row.slice(0, Math.max(0, row.length - cut));
          });
          cache.reorder(
            chosen,
            kept.map((row) => row.length),
          );
          const added = kept.map((row) => ({
            at: row.length,
            elements: Array.from({ length: appended }, () => unused++),
          }));
          model = kept.map((row, index) => [...row, ...(added[index]?.elements ?? [])]);
          cache.reserve(model.length, Math.max(...model.map((row) => row.length)));
          append(cache, added);
          assertHolds(cache, 0, model);
        }
      }),
      { numRuns: 60 },
    );
  });
});
