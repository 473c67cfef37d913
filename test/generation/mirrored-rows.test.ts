import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { MirroredRows } from "../../src/generation/mirrored-rows.js";

/** Three rows of cache rows 0 to 2, mirrored. */
function mirrored(): MirroredRows {
  const rows = new MirroredRows();
  rows.reorder([undefined, undefined, undefined]);
  rows.find(0, [5, 6, 7]);
  rows.hold(0, 3);
  return rows;
}

describe("MirroredRows", () => {
  it("sends all rows first, and none while the rows stay the same", () => {
    const rows = new MirroredRows();
    rows.reorder([undefined, undefined]);
    assert.deepEqual(rows.find(0, [5, 6]), {
      keepsMirror: false,
      sent: { first: 0, count: 2 },
      rows: [0, 1],
      isUnchanged: false,
    });
    rows.hold(0, 2);
    rows.reorder([0, 1]);
    assert.deepEqual(rows.find(0, [6, 7]), { keepsMirror: true, sent: undefined, rows: [0, 1], isUnchanged: true });
  });

  const changes: [string, (number | undefined)[], number, number[], { sent?: [number, number]; rows: number[] }][] = [
    ["moves rows that change places", [2, 0, 1], 0, [7, 5, 6], { rows: [2, 0, 1] }],
    ["repeats a row that is forked, also for a shorter beginning", [1, 1, 1], 0, [6, 6, 3], { rows: [1, 1, 1] }],
    ["drops rows that leave", [0, 2], 0, [5, 7], { rows: [0, 2] }],
    ["takes a part of the rows", [0, 1, 2], 1, [6], { rows: [1] }],
    ["sends a row that joins", [0, 1, 2, undefined], 0, [5, 6, 7, 4], { sent: [3, 1], rows: [0, 1, 2, 3] }],
    [
      "sends the range of the rows that join",
      [undefined, 0, undefined, 2],
      0,
      [4, 5, 4, 7],
      { sent: [0, 3], rows: [3, 0, 5, 2] },
    ],
    ["sends no row that is empty", [0, undefined, 1, 2], 0, [5, 0, 6, 7], { rows: [0, 0, 1, 2] }],
  ];
  for (const [what, sources, first, lengths, { sent, rows }] of changes) {
    it(what, () => {
      const known = mirrored();
      known.reorder(sources);
      assert.deepEqual(known.find(first, lengths), {
        keepsMirror: true,
        sent: sent && { first: sent[0], count: sent[1] },
        rows,
        isUnchanged: false,
      });
    });
  }

  it("sends rows that changed elsewhere, and nothing of the mirror remains in use if all did", () => {
    const rows = mirrored();
    rows.forget(1);
    assert.deepEqual(rows.find(0, [5, 9, 7]).sent, { first: 1, count: 1 });
    for (const row of [0, 2]) rows.forget(row);
    const { keepsMirror, sent } = rows.find(0, [8, 9, 9]);
    assert.deepEqual({ keepsMirror, sent }, { keepsMirror: false, sent: { first: 0, count: 3 } });
  });

  it("forgets everything when it is cleared", () => {
    const rows = mirrored();
    rows.clear();
    rows.reorder([0, 1, 2]);
    assert.deepEqual(rows.find(0, [5, 6, 7]).sent, { first: 0, count: 3 });
  });

  it("always leads to the content of the cache", () => {
    const step = fc.record({
      sources: fc.array(fc.option(fc.nat(99), { freq: 4 }), { minLength: 1, maxLength: 6 }),
      cut: fc.nat(2),
      /** Whether the step uses the mirror. */
      mirrors: fc.boolean(),
      first: fc.nat(99),
      count: fc.nat(99),
      /** Whether a row is computed. */
      computed: fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 15 }), (steps) => {
        const known = new MirroredRows();
        let cache: number[][] = [];
        let mirror: number[][] = [];
        let unused = 0;
        for (const { sources, cut, mirrors, first: from, count: most, computed } of steps) {
          const given = sources.map((at) => (at === null || cache.length === 0 ? undefined : at % cache.length));
          const before = cache;
          cache = given.map((source) => {
            const row = source === undefined ? [] : (before[source] ?? []);
            return row.slice(0, Math.max(0, row.length - cut));
          });
          known.reorder(given);
          const first = from % cache.length;
          const count = 1 + (most % (cache.length - first));
          const inStep = cache.slice(first, first + count);
          const usesMirror = mirrors && inStep.some((row) => row.length > 0);
          if (usesMirror) {
            const plan = known.find(
              first,
              inStep.map((row) => row.length),
            );
            const sent = plan.sent ? cache.slice(plan.sent.first, plan.sent.first + plan.sent.count) : [];
            const all = [...(plan.keepsMirror ? mirror : []), ...sent];
            const found = plan.rows.map((row) => all[row] ?? []);
            if (plan.isUnchanged) assert.deepEqual(found, mirror);
            found.forEach((row, at) => {
              assert.deepEqual(row.slice(0, inStep[at]?.length), inStep[at]);
            });
            known.hold(first, count);
            mirror = inStep.map((row) => [...row]);
          }
          for (let row = first; row < first + count; row++) {
            if (!computed[row - first]) continue;
            cache[row]?.push(unused);
            if (usesMirror) mirror[row - first]?.push(unused);
            else known.forget(row);
            unused++;
          }
        }
      }),
      { numRuns: 200 },
    );
  });
});
