import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { chooseFrames, showingSeconds } from "../../../../src/media/decode/video/choose-frames.js";

/** The published code: numpy's `linspace(0, length, count + 1).astype(int)`, then the middle of each part. */
function published(length: number, count: number): number[] {
  const parts = Math.min(count, length);
  const ends = Array.from({ length: parts }, (_, part) => Math.floor(part * (length / parts))).concat(length);
  const middles = ends.slice(1).map((end, part) => Math.floor(((ends[part] ?? 0) + end - 1) / 2));
  return Array.from({ length: count }, (_, index) => middles[Math.min(index, parts - 1)] ?? 0);
}

const steady = (length: number, rate: number, start = 0) =>
  Array.from({ length }, (_, index) => ({ time: start + index / rate, duration: 1 / rate }));

describe("chooseFrames", () => {
  it("chooses the middle of each part, as the published code does", () => {
    assert.deepEqual(chooseFrames(steady(300, 30), 8), [18, 55, 93, 130, 168, 205, 243, 280]);
    assert.deepEqual(chooseFrames(steady(25, 25), 8), [1, 4, 7, 10, 13, 16, 19, 22]);
    const any = { length: fc.integer({ min: 1, max: 2000 }), count: fc.integer({ min: 1, max: 96 }) };
    fc.assert(
      fc.property(any.length, any.count, fc.constantFrom(24, 25, 29.97, 60), (length, count, rate) => {
        assert.deepEqual(chooseFrames(steady(length, rate, 1.4), count), published(length, count));
      }),
    );
  });

  it("chooses all frames if there are too few, and repeats the last one", () => {
    assert.deepEqual(chooseFrames(steady(3, 25), 8), [0, 1, 2, 2, 2, 2, 2, 2]);
    assert.deepEqual(chooseFrames([{ time: 7, duration: 0 }], 4), [0, 0, 0, 0]);
  });

  it("chooses by time if frames have different durations", () => {
    // One frame for five seconds, then 25 per second.
    const frames = [{ time: 0, duration: 5 }, ...steady(125, 25, 5)];
    const chosen = chooseFrames(frames, 4);
    assert.deepEqual(chosen.slice(0, 2), [0, 0]);
    for (const [index, seconds] of [
      [2, 6.25],
      [3, 8.75],
    ] as const) {
      assert.ok(Math.abs((frames[chosen[index] ?? 0]?.time ?? 0) - seconds) < 0.1);
    }
  });
});

describe("showingSeconds", () => {
  it("includes the last frame's duration, or the mean duration if it has none", () => {
    assert.equal(showingSeconds(steady(50, 25)), 2);
    assert.equal(showingSeconds([0, 1, 2].map((time) => ({ time, duration: 0 }))), 3);
    assert.equal(showingSeconds([{ time: 5, duration: 0 }]), 1);
    assert.equal(showingSeconds([]), 0);
  });
});
