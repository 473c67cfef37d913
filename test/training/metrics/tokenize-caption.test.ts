import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { tokenizeCaption } from "../../../src/training/metrics/tokenize-caption.js";

const cases: readonly (readonly [given: string, tokens: string])[] = [
  ["A man riding a wave on top of a surfboard.", "a man riding a wave on top of a surfboard"],
  ["Wow!! A dog, a cat; two birds...", "wow a dog a cat two birds"],
  ["It's a dog's bed, and the dogs' toys", "it 's a dog 's bed and the dogs toys"],
  ["They don’t, can't and shouldn't've", "they do n't ca n't and should n't 've"],
  ["He cannot; she's gonna", "he can not she 's gon na"],
  ["A t-shirt -- red/white -- at 5 o'clock", "a t-shirt red/white at 5 o'clock"],
  ["1,000 people, 3.5 miles, 7:30 a.m.", "1,000 people 3.5 miles 7:30 a.m."],
  ["Mr. Smith in the U.S. flag", "mr. smith in the u.s. flag"],
  ["$5 & 50% off #1", "$ 5 & 50 % off # 1"],
  ['The "stop" sign (red) [old] {torn}', "the stop sign red old torn"],
  ["“Grüße” — ein Café…", "grüße ein café"],
  ["Cafe\u0301", "café"],
  ["一只 狗。 🐶!", "一只 狗 🐶"],
  ["", ""],
  [" ...!? ", ""],
];

describe("tokenizeCaption", () => {
  for (const [given, expected] of cases) {
    it(`tokenises ${JSON.stringify(given)}`, () => {
      assert.equal(tokenizeCaption(given).join(" "), expected);
    });

    it(`does not change the tokens of ${JSON.stringify(given)}`, () => {
      assert.equal(tokenizeCaption(expected).join(" "), expected);
    });
  }

  it("returns lower-case tokens without spaces for any string", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
        for (const token of tokenizeCaption(text)) {
          assert.match(token, /^\S+$/u);
          assert.equal(token, token.toLowerCase());
        }
      }),
    );
  });
});
