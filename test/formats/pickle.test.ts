import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { EpalmError } from "../../src/core/errors.js";
import { PickleClass, type PickleDialect, unpickle } from "../../src/formats/pickle.js";

const dialect: PickleDialect = {
  classes: new Map([["a.First", new PickleClass("a.First", ([first = null]) => first)]]),
  persistent: () => null,
};

/** Reads a pickle that is written as its opcodes, one character per byte. */
function read(opcodes: string) {
  return unpickle(Buffer.from(opcodes, "latin1"), dialect);
}

describe("unpickle", () => {
  const values: [string, string, unknown][] = [
    ["small integers", "(K\x07M\x00\x01J\xff\xff\xff\xfft.", [7, 256, -1]],
    ["long integers", "\x8a\x00\x8a\x01\xff\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00\x87.", [0, -1, 2n ** 63n]],
    ["floats", "G\x3f\xf8\x00\x00\x00\x00\x00\x00.", 1.5],
    ["constants", "N\x88\x89\x87.", [null, true, false]],
    ["strings", "X\x02\x00\x00\x00\xc3\xa9\x8c\x01aU\x01b\x87.", ["é", "a", "b"]],
    ["bytes", "C\x02\x00\xff.", new Uint8Array([0, 255])],
    ["nested lists", "](K\x01]K\x02ae.", [1, [2]]],
    [
      "dicts with keys that are special in JavaScript",
      "}(\x8c\x09__proto__K\x01K\x02Nu.",
      new Map<unknown, unknown>([
        ["__proto__", 1],
        [2, null],
      ]),
    ],
    ["the memo", "K\x05q\x07h\x07\x86.", [5, 5]],
    ["memoized values by index", "\x80\x04K\x05\x94\x95\x00\x00\x00\x00\x00\x00\x00\x00h\x00\x86.", [5, 5]],
    ["calls of known classes", "ca\nFirst\nK\x09\x85R\x8c\x01a\x8c\x05First\x93K\x08\x85\x81\x86.", [9, 8]],
  ];
  for (const [what, opcodes, expected] of values) {
    it(`reads ${what}`, () => assert.deepEqual(read(opcodes), expected));
  }

  it("reads a list that contains itself", () => {
    const list = read("]q\x00h\x00a.");
    assert.ok(Array.isArray(list));
    assert.equal(list[0], list);
  });

  const hostile: [string, string, RegExp][] = [
    ["an unknown class", "cos\nsystem\n.", /names os\.system/],
    ["a class of Object.prototype", "cconstructor\nname\n.", /names constructor\.name/],
    ["an unknown class on the stack", "\x8c\x08builtins\x8c\x04eval\x93.", /names builtins\.eval/],
    ["a call of a value that is not a class", "K\x01)R.", /calls a value that is not a class/],
    ["attributes of a number", "K\x01}b.", /sets attributes/],
    ["an opcode of the text protocol", "I1\n.", /opcode 0x49 at byte 0/],
    ["an extension code", "\x82\x01.", /opcode 0x82/],
    ["a protocol that does not exist yet", "\x80\x63N.", /protocol 99/],
    ["an empty stack", ".", /empty stack/],
    ["a mark that was never set", "t.", /lacks a mark/],
    ["a tuple of more values than the stack contains", "N\x87.", /empty stack/],
    ["a value that was never stored", "h\x01.", /never stored/],
    ["an end within a string", "X\xff\xff\xff\x7fabc", /ends within a value/],
    ["a string of endless length", "\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc", /ends within a value/],
    ["a string that is not UTF-8", "\x8c\x01\xff.", /not UTF-8/],
    ["no end at all", "NNN", /ends within a value/],
    ["a huge integer", `\x8b\xff\xff\x00\x00${"\x01".repeat(65_535)}.`, /integer of 65535 bytes/],
    ["a class name without an end", `c${"a".repeat(1000)}`, /no line/],
    ["a list as dict key", "}]Ns.", /dict key/],
    ["a key without a value", "}(Nu.", /key without a value/],
    ["items of a value that is not a dict", "](NNu.", /not a dict/],
    ["appending to a value that is not a list", "}Na.", /not a list/],
    ["more opcodes than any checkpoint has", "N0".repeat(1_000_001), /more than 2000000 opcodes/],
  ];
  for (const [what, opcodes, cause] of hostile) {
    it(`rejects ${what}`, () => {
      assert.throws(
        () => read(opcodes),
        (error) => error instanceof EpalmError && cause.test(error.message),
      );
    });
  }

  it("accepts nested marks deeper than any recursion could go", () => {
    assert.equal(read(`N${"(".repeat(900_000)}${"1".repeat(900_000)}.`), null);
  });
});
