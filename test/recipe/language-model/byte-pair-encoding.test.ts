import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { tokenizerConfig, trainTokenizer } from "../../../models/recipe/language-model/byte-pair-encoding.js";
import { createTokenizer } from "../../../src/tokenizer/tokenizer.js";

const texts = ["low low low low low", "lower lower", "newest newest newest newest newest newest", "widest widest"];

describe("a learned tokenizer", () => {
  const files = { tokenizerJson: trainTokenizer(texts, 4 + 256 + 12), tokenizerConfig };

  it("merges the most frequent pairs first, and equally frequent ones in code point order", () => {
    const { merges } = files.tokenizerJson.model as { merges: [string, string][] };
    // `es` occurs 8 times, then `st` and `est`; `lo` and `ow` occur 7 times.
    assert.deepEqual(merges.slice(0, 3), [
      ["e", "s"],
      ["es", "t"],
      ["l", "o"],
    ]);
    assert.equal(merges.length, 12);
  });

  it("decodes every string to itself, whatever its characters, and adds the start token", async () => {
    const tokenizer = createTokenizer(files as never, "learned");
    for (const text of ["lowest newest", "it's 3 °C — naïve 🦊", "  two  spaces\n"]) {
      const ids = tokenizer.encode(text, { addSpecialTokens: false });
      assert.equal(tokenizer.decode(ids), text);
      assert.deepEqual(tokenizer.encode(text, { addSpecialTokens: true }), [2, ...ids]);
    }
  });
});
