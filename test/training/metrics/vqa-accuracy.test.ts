import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { normalizeAnswer } from "../../../src/training/metrics/normalize-answer.js";
import { exactMatch, vqaAccuracy } from "../../../src/training/metrics/vqa-accuracy.js";

/** Ten answers, some of which are "yes". */
const tenWith = (count: number) => Array.from({ length: 10 }, (_, index) => (index < count ? "yes" : "no"));

describe("normalizeAnswer", () => {
  const cases: readonly (readonly [given: string, expected: string])[] = [
    ["The t-shirt", "t shirt"],
    ["a red -dog, t-shirt", "red dog tshirt"],
    ["1,000 t-shirts", "1000 tshirts"],
    [" ?cat?dog", "cat dog"],
    ["3.5 or .5.", "3.5 or .5"],
    ["None", "0"],
    ["whens, oclock", "when's o'clock"],
    ["somebody'd", "somebodyd"],
    ["constructor", "constructor"],
    [".".repeat(33), "."],
    ["Ünï code 狗", "ünï code 狗"],
    ["", ""],
  ];
  for (const [given, expected] of cases) {
    it(`normalises ${JSON.stringify(given)} to ${JSON.stringify(expected)}`, () => {
      assert.equal(normalizeAnswer(given), expected);
    });
  }
});

describe("vqaAccuracy", () => {
  it("leaves each of ten answers out in turn", () => {
    for (const [count, expected] of [0, 0.3, 0.6, 0.9, 1, 1].entries()) {
      assert.ok(Math.abs(vqaAccuracy("Yes.", tenWith(count)) - expected) < 1e-12, `${count} of 10`);
    }
  });

  it("requires the agreement of all others if there are fewer than three", () => {
    assert.equal(vqaAccuracy("yes", ["Yes!"]), 1);
    assert.equal(vqaAccuracy("yes", ["no"]), 0);
    assert.equal(vqaAccuracy("yes", ["yes", "no"]), 0.5);
    assert.equal(vqaAccuracy("yes", ["yes", "yes"]), 1);
    assert.equal(vqaAccuracy("yes", ["yes", "yes", "yes"]), 1);
  });

  it("is 1 if all agree, 0 if none does, and in between otherwise", () => {
    const answer = fc.constantFrom("yes", "no", "a dog", "two", "2", "", "狗");
    fc.assert(
      fc.property(answer, fc.array(answer, { minLength: 1, maxLength: 12 }), (given, references) => {
        const accuracy = vqaAccuracy(given, references);
        const matches = references.filter((other) => other !== "" && normalizeAnswer(other) === normalizeAnswer(given));
        assert.ok(accuracy >= 0 && accuracy <= 1);
        if (matches.length === references.length) assert.equal(accuracy, 1);
        assert.equal(accuracy === 0, matches.length === 0);
      }),
    );
  });

  it("rejects an empty list of references", () => {
    assert.throws(() => vqaAccuracy("yes", []), { code: "invalid_option" });
  });

  it("gives nothing for a blank reference, which counts among the ten", () => {
    const references = [...Array<string>(8).fill("b"), "", "  "];
    assert.equal(vqaAccuracy("b", references), 1);
    assert.equal(vqaAccuracy("", references), 0);
    assert.ok(Math.abs(vqaAccuracy("b", ["b", ...Array<string>(9).fill("")]) - 0.3) < 1e-12);
  });
});

describe("exactMatch", () => {
  it("is 1 for an answer that equals a reference after normalisation, and 0 otherwise", () => {
    assert.equal(exactMatch("The Dogs.", ["dogs"]), 1);
    assert.equal(exactMatch("dog", ["dogs"]), 0);
    assert.equal(exactMatch("two", ["1", "2"]), 1);
    assert.equal(exactMatch("", [""]), 0);
    assert.throws(() => exactMatch("yes", []), { code: "invalid_option" });
  });
});
