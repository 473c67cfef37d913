import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { namingOf } from "../../../models/recipe/evaluate/naming.js";

const naming = (pairs: readonly (readonly [string, string])[]) => {
  const predictions = pairs.map(([prediction, reference]) => ({ prediction, references: [reference] }));
  const { name, nameAndNumber } = namingOf(predictions);
  return [name.right, nameAndNumber.right, name.all];
};

describe("naming", () => {
  it("counts names on any background, with and without the number", () => {
    const truth = "two red apples on a dotted blue background";
    assert.deepEqual(naming([["two red apples on a green background", truth]]), [1, 1, 1]);
    assert.deepEqual(naming([["a red apple on a dotted blue background", truth]]), [1, 0, 1]);
    assert.deepEqual(naming([["two green apples on a dotted blue background", truth]]), [0, 0, 1]);
  });

  it("recognises regular, irregular and invariable plurals", () => {
    assert.deepEqual(naming([["a mouse on a red background", "three mice on a red background"]]), [1, 0, 1]);
    assert.deepEqual(naming([["sunglasses on a red background", "two sunglasses on a red background"]]), [1, 0, 1]);
  });

  it("does not count captions without a name or with several names", () => {
    const truth = "a red apple on an orange background";
    for (const wrong of [
      "",
      "a red apple",
      "an apple left of a pear on a red background",
      "a red apple and a pear on a red background",
    ]) {
      assert.deepEqual(naming([[wrong, truth]]), [0, 0, 1], wrong);
    }
  });

  it("leaves out images of several kinds of objects", () => {
    const truth = "a red apple left of a rocket on a blue background";
    assert.deepEqual(naming([[truth, truth]]), [0, 0, 0]);
  });
});
