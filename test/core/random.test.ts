import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { jump, output, randomStreams, type State, seededState, step } from "../../src/core/random.js";

describe("random", () => {
  it("steps as the authors' xoshiro128starstar.c does", () => {
    assert.deepEqual(outputs([1, 2, 3, 4], 6), [11520, 0, 5927040, 70819200, 2031721883, 1637235492]);
  });

  it("jumps as the authors' xoshiro128starstar.c does", () => {
    assert.deepEqual(outputs(jump([1, 2, 3, 4]), 4), [1194304935, 745561276, 25819468, 3320478005]);
  });

  it("seeds as the authors' splitmix64.c does", () => {
    const [a, b, c, d] = seededState(1234567).map((word) => BigInt(word >>> 0));
    assert.ok(a !== undefined && b !== undefined && c !== undefined && d !== undefined);
    assert.deepEqual([(b << 32n) | a, (d << 32n) | c], [6457827717110365317n, 3203168211198807973n]);
  });

  it("returns the same numbers for a stream, however many streams there are", () => {
    const [only] = randomStreams(7, 1);
    const [first, second] = randomStreams(7, 2);
    const fromOnly = Array.from({ length: 5 }, () => only?.());
    assert.deepEqual(
      Array.from({ length: 5 }, () => first?.()),
      fromOnly,
    );
    assert.notDeepEqual(
      Array.from({ length: 5 }, () => second?.()),
      fromOnly,
    );
  });

  it("accepts every safe integer as a seed and stays in [0, 1)", () => {
    for (const seed of [0, 1, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
      for (const random of randomStreams(seed, 2)) {
        const numbers = Array.from({ length: 1000 }, () => random());
        assert.ok(numbers.every((number) => number >= 0 && number < 1));
        const mean = numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
        assert.ok(Math.abs(mean - 0.5) < 0.05, `seed ${seed}: mean ${mean}`);
      }
    }
  });
});

function outputs(start: State, count: number): number[] {
  const words: number[] = [];
  for (let state = start; words.length < count; state = step(state)) words.push(output(state));
  return words;
}
