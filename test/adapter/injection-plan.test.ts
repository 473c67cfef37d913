import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { injectionPlan } from "../../src/adapter/injection-plan.js";

const settings = { injectedStates: 3, startLayer: 2, endLayer: 5, perceptionSees: "everything" } as const;

describe("injectionPlan", () => {
  const cases: [string, Partial<typeof settings> & object, number, (number | undefined)[]][] = [
    ["one state per layer", {}, 6, [undefined, undefined, 0, 1, 2, undefined]],
    [
      "each state for two layers",
      { startLayer: 1, endLayer: 7 } as object,
      8,
      [undefined, 0, 0, 1, 1, 2, 2, undefined],
    ],
    ["the last state at the remaining layers", { startLayer: 0, endLayer: 5 } as object, 5, [0, 1, 2, 2, 2]],
    ["fewer layers than states", { startLayer: 0, endLayer: 2 } as object, 3, [0, 1, undefined]],
    [
      "as published: six states in layers 19 to 30 of 32",
      { injectedStates: 6, startLayer: 19, endLayer: 31 } as object,
      32,
      [...new Array<undefined>(19).fill(undefined), 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, undefined],
    ],
  ];
  for (const [what, change, layers, expected] of cases) {
    it(`overwrites the slot: ${what}`, () => {
      const plan = injectionPlan({ ...settings, ...change }, layers);
      assert.deepEqual(plan.stateAt, expected);
      const first = expected.findIndex((state) => state !== undefined);
      assert.deepEqual(
        plan.visible,
        expected.map((_, layer) => layer >= first),
      );
    });
  }

  it("reports whether cached tokens remain valid", () => {
    assert.ok(injectionPlan(settings, 6).cacheable, "overwritten up to the last layer but one");
    assert.ok(!injectionPlan(settings, 7).cacheable, "left alone earlier");
    assert.ok(injectionPlan({ ...settings, perceptionSees: "itself" }, 7).cacheable);
  });

  for (const [startLayer, endLayer] of [
    [-1, 3],
    [3, 3],
    [2, 7],
  ] as const) {
    it(`rejects layers ${startLayer} to ${endLayer} of 6`, () => {
      assert.throws(() => injectionPlan({ ...settings, startLayer, endLayer }, 6), {
        code: "invalid_adapter",
        message: /expected 0 <= start < end <= 6/,
      });
    });
  }
});
