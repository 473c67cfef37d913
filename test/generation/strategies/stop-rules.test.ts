import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  cutAtStop,
  finishReason,
  type StopRules,
  streamableText,
} from "../../../src/generation/strategies/stop-rules.js";

const bytes = new TextDecoder();
/** Byte tokens, the smallest possible; a space at the start is stripped, as SentencePiece decoders do. */
const decodeBytes = (tokens: readonly number[]) => bytes.decode(Uint8Array.from(tokens)).replace(/^ /, "");
const encodeBytes = (text: string) => Array.from(new TextEncoder().encode(text));

function rulesWith(stop: readonly string[], decode: StopRules["decode"] = decodeBytes): StopRules {
  return { eosTokenIds: new Set([256]), minNewTokens: 0, maxNewTokens: 1000, stop, decode };
}

/** The number of tokens after which a sequence is finished, and the reason. */
function firstFinish(tokens: readonly number[], rules: StopRules) {
  for (let length = 1; length <= tokens.length; length++) {
    const finish = finishReason(tokens.slice(0, length), rules);
    if (finish !== undefined) return { length, finish };
  }
  return undefined;
}

describe("finishReason", () => {
  it("prefers the end token over the length", () => {
    const rules = { ...rulesWith([]), maxNewTokens: 2 };
    assert.equal(finishReason([65], rules), undefined);
    assert.equal(finishReason([65, 66], rules), "length");
    assert.equal(finishReason([65, 256], rules), "end");
  });

  it("finds a stop string across tokens and inside one", () => {
    const words = ["st", "op", "opera", "bus stop!", ""];
    const rules = rulesWith(["stop"], (tokens) => tokens.map((token) => words[token]).join(""));
    assert.equal(finishReason([0, 1], rules), "stop");
    assert.equal(finishReason([0, 4, 4, 2], rules), "stop");
    assert.equal(finishReason([3], rules), "stop");
    assert.equal(finishReason([1, 0], rules), undefined);
  });

  it("finds a stop string across any number of empty tokens", () => {
    const rules = rulesWith(["ab"], (tokens) => tokens.map((token) => (token === 0 ? "" : "ab"[token - 1])).join(""));
    assert.equal(finishReason([1, ...Array<number>(200).fill(0), 2], rules), "stop");
  });

  it("does not decode a long sequence again for each token", () => {
    let decoded = 0;
    const rules = rulesWith(["\n\n"], (tokens) => {
      decoded += tokens.length;
      return decodeBytes(tokens);
    });
    finishReason(Array<number>(1000).fill(65), rules);
    assert.ok(decoded < 50, `${decoded} tokens decoded`);
  });

  it("finds stop strings exactly where the whole text first contains one", () => {
    const alphabet = fc.constantFrom("a", "b", " ", "é", "日", "👍", "\n");
    const text = fc.array(alphabet, { maxLength: 120 }).map((characters) => characters.join(""));
    const stop = fc.array(alphabet, { minLength: 1, maxLength: 4 }).map((characters) => characters.join(""));
    fc.assert(
      fc.property(text, fc.array(stop, { minLength: 1, maxLength: 3 }), (written, strings) => {
        const tokens = encodeBytes(written);
        const whole = tokens.findIndex((_, index) => {
          const soFar = decodeBytes(tokens.slice(0, index + 1));
          return strings.some((string) => soFar.includes(string));
        });
        const expected = whole < 0 ? undefined : { length: whole + 1, finish: "stop" };
        assert.deepEqual(firstFinish(tokens, rulesWith(strings)), expected);
      }),
    );
  });
});

describe("cutAtStop", () => {
  it("cuts before the first of several stop strings", () => {
    assert.equal(cutAtStop("one, two. three", [".", ","]), "one");
    assert.equal(cutAtStop("one", [".", ","]), "one");
    assert.equal(cutAtStop("one", []), "one");
  });
});

describe("streamableText", () => {
  it("holds back an ending that may become a stop string", () => {
    assert.equal(streamableText("hello <|", ["<|end|>"]), "hello ");
    assert.equal(streamableText("hello <b", ["<|end|>"]), "hello <b");
    assert.equal(streamableText("hello <|end|> and", ["<|end|>"]), "hello ");
  });

  it("holds back a character whose bytes are incomplete", () => {
    assert.equal(streamableText(decodeBytes(encodeBytes("a👍").slice(0, -1)), []), "a");
  });

  it("never changes text that it returned before", () => {
    const text = fc.array(fc.constantFrom("a", "b", "é", "👍"), { maxLength: 30 }).map((parts) => parts.join(""));
    const stop = fc
      .array(fc.constantFrom("a", "b", "é"), { minLength: 1, maxLength: 4 })
      .map((parts) => parts.join(""));
    fc.assert(
      fc.property(text, fc.array(stop, { maxLength: 3 }), (written, strings) => {
        const tokens = encodeBytes(written);
        const end = firstFinish(tokens, rulesWith(strings))?.length ?? tokens.length;
        const final = cutAtStop(decodeBytes(tokens.slice(0, end)), strings);
        for (let length = 0; length <= end; length++) {
          assert.ok(final.startsWith(streamableText(decodeBytes(tokens.slice(0, length)), strings)));
        }
      }),
    );
  });
});
