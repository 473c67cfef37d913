import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { learningRateShare, type Schedule } from "../../src/training/schedule.js";

function near(found: number, expected: number, what: string): void {
  assert.ok(Math.abs(found - expected) < 1e-12, `${what}: ${found}, expected ${expected}`);
}

const share = fc.double({ min: 0, max: 1, noNaN: true });
const schedule: fc.Arbitrary<Schedule> = fc
  .record({
    steps: fc.integer({ min: 1, max: 300 }),
    warmupSteps: fc.nat(300),
    startShare: share,
    endShare: share,
  })
  .filter(({ steps, warmupSteps }) => warmupSteps <= steps);

describe("learningRateShare", () => {
  const published: Schedule = { steps: 108, warmupSteps: 8, startShare: 0.5, endShare: 0.05 };
  const cases: readonly (readonly [what: string, given: Schedule, step: number, expected: number])[] = [
    ["the first step", published, 0, 0.5],
    ["a quarter of the warm-up", published, 2, 0.625],
    ["the last step of the warm-up", published, 7, 0.5 + 0.5 * (7 / 8)],
    ["the top", published, 8, 1],
    ["a third of the cosine", { ...published, steps: 98 }, 38, 0.05 + 0.95 * 0.75],
    ["half of the cosine", published, 58, (1 + 0.05) / 2],
    ["two thirds of the cosine", { ...published, steps: 98 }, 68, 0.05 + 0.95 * 0.25],
    ["the end", published, 108, 0.05],
    ["behind the end", published, 158, 0.05],
    ["a start from nothing", { ...published, startShare: 0 }, 0, 0],
    ["a start without warm-up", { ...published, warmupSteps: 0 }, 0, 1],
    ["an end at nothing", { ...published, endShare: 0 }, 108, 0],
    ["an end at the full rate", { ...published, endShare: 1 }, 58, 1],
    ["the end of a run that is all warm-up", { ...published, steps: 8 }, 7, 0.5 + 0.5 * (7 / 8)],
    ["a run of one step", { ...published, steps: 1, warmupSteps: 0 }, 0, 1],
  ];
  for (const [what, given, step, expected] of cases) {
    it(`matches the closed form at ${what}`, () => near(learningRateShare(given, step), expected, what));
  }

  it("rises in equal steps, then never rises again, and stays between the given shares", () => {
    fc.assert(
      fc.property(schedule, (given) => {
        const { steps, warmupSteps, startShare, endShare } = given;
        const shares = Array.from({ length: steps + 1 }, (_, step) => learningRateShare(given, step));
        const changes = shares.slice(1).map((value, step) => value - (shares[step] ?? Number.NaN));
        for (const change of changes.slice(0, warmupSteps)) {
          near(change, (1 - startShare) / warmupSteps, "a step of the warm-up");
        }
        assert.ok(changes.slice(warmupSteps).every((change) => change <= 1e-12));
        near(shares[0] ?? Number.NaN, warmupSteps > 0 ? startShare : 1, "the start");
        if (warmupSteps < steps) near(shares[steps] ?? Number.NaN, endShare, "the end");
        near(Math.max(...shares), 1, "the top");
      }),
    );
  });
});
