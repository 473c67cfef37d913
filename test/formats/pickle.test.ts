import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { EpalmError } from "../../src/core/errors.js";
import { PickleClass, type PickleDialect, PickleObject, type PickleValue, unpickle } from "../../src/formats/pickle.js";

const dialect: PickleDialect = {
  classes: new Map([["a.First", new PickleClass("a.First", ([first = null]) => first)]]),
  persistent: () => null,
};

/** Reads a pickle that is written as its opcodes, one character per byte. */
function read(opcodes: string) {
  return unpickle(Buffer.from(opcodes, "latin1"), dialect);
}

function refusedBecause(cause: RegExp) {
  return (error: unknown) => error instanceof EpalmError && cause.test(error.message);
}

/** Opcodes with their arguments: values, containers, the memo, names that are hostile or harmless, and calls. */
const PIECES = [
  ..."N)]}(.012aetusdlRQb\x81\x85\x86\x87\x88\x8f\x90\x91\x92\x93\x94",
  ...["K\x01", "K\x02", "M\xff\xff", "\x8a\x02\xff\x7f", "U\x01\xff", "C\x01\x00", "\x8c\x08polluted"],
  ...["\x8c\x09__proto__", "\x8c\x0bconstructor", "q\x00", "h\x00", "q\x01", "h\x01"],
  ...["ca\nFirst\n", "cos\nsystem\n", "cbuiltins\neval\n", "cobject\n__proto__\n", "cnumpy\ndtype\n"],
  ...["ctorch\nFloatStorage\n", "ccollections\nOrderedDict\n"],
];

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
    ["a function that runs commands", "cos\nsystem\n.", /names os\.system/],
    ["a call of a command", "cposix\nsystem\n\x8c\x04true\x85R.", /names posix\.system/],
    ["a function of Python 2 that runs code", "c__builtin__\neval\n.", /names builtins\.eval/],
    ["a submodule that runs code", "cimportlib._bootstrap\n_load\n.", /names importlib\._bootstrap\._load/],
    ["such a function on the stack", "\x8c\x08builtins\x8c\x04eval\x93.", /names builtins\.eval/],
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
    ["a call without arguments", "ca\nFirst\nK\x01R.", /without arguments/],
    ["a call with keywords that are not a dict", "ca\nFirst\n)K\x01\x92.", /keywords/],
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

  const inert: [string, string, string][] = [
    ["an unknown class", "cmy.config\nSettings\n)R.", "my.config.Settings"],
    ["a class of Object.prototype", "cconstructor\nname\n)\x81.", "constructor.name"],
    ["a class named __proto__", "c__proto__\n__proto__\n)R}\x8c\x09__proto__K\x01sb.", "__proto__.__proto__"],
    ["a call of a placeholder", "cfunctools\npartial\n)R)R.", "functools.partial"],
    ["keywords", "ca\nSecond\n)}\x8c\x01xK\x01s\x92.", "a.Second"],
  ];
  for (const [what, opcodes, name] of inert) {
    it(`makes a placeholder of ${what}`, () => {
      const value = read(opcodes);
      assert.ok(value instanceof PickleObject);
      assert.equal(value.className, name);
      assert.equal("polluted" in {}, false);
    });
  }

  it("records arguments, attributes, items and elements of a placeholder", () => {
    const object = read("ca\nB\nK\x07\x85R}\x8c\x01xK\x01sb\x8c\x01yK\x02sK\x03a(K\x04e.");
    assert.ok(object instanceof PickleObject);
    assert.deepEqual(object.args, [7]);
    assert.deepEqual(object.elements, [3, 4]);
    assert.deepEqual(
      [...object],
      [
        ["x", 1],
        ["y", 2],
      ],
    );
  });

  it("records the attributes of an object with slots", () => {
    const object = read("ca\nB\n)RN}\x8c\x01xK\x01s\x86b.");
    assert.deepEqual([...(object as PickleObject)], [["x", 1]]);
  });

  it("records a state that is not a dict", () => {
    assert.deepEqual((read("ca\nB\n)RK\x01b.") as PickleObject).state, 1);
  });

  it("accepts tuples as dict keys", () => {
    assert.deepEqual(read("}K\x01K\x02\x86Ns."), new Map([[[1, 2], null]]));
  });

  it("replaces unpaired surrogates, which Python writes for unprintable file names", () => {
    assert.equal(read("\x8c\x04a\xed\xb3\xbf."), "a\ufffd");
  });

  it("reads a string of Python 2 that is not text as bytes", () => {
    assert.deepEqual(read("U\x02\x00\xff."), new Uint8Array([0, 255]));
  });

  it("reads integers of 255 bytes", () => {
    assert.equal(read(`\x8a\xff${"\x00".repeat(254)}\x01.`), 2n ** (8n * 254n));
  });

  it("bounds what calls with the same large argument can copy", () => {
    const list = `](${"N".repeat(100_000)}eq\x00`;
    const call = "0ca\nFirst\nh\x00\x85R";
    assert.throws(() => read(`${list}${call.repeat(1000)}.`), refusedBecause(/same large values/));
  });

  it("reads values that are nested 100,000 deep", () => {
    let value: PickleValue = read(`${"]".repeat(100_000)}${"a".repeat(99_999)}.`);
    let depth = 0;
    for (; Array.isArray(value); depth++) value = value[0] ?? null;
    assert.equal(depth, 100_000);
  });

  it("returns or rejects any sequence of opcodes, and changes no prototype", () => {
    const opcode = fc.constantFrom(...PIECES);
    const before = Reflect.ownKeys(Object.prototype).length + Reflect.ownKeys(Map.prototype).length;
    fc.assert(
      fc.property(fc.array(opcode, { maxLength: 60 }), (pieces) => {
        try {
          read(`${pieces.join("")}.`);
        } catch (error) {
          assert.ok(error instanceof EpalmError, `${error}`);
        }
      }),
      { numRuns: 3000, seed: 7 },
    );
    assert.equal(Reflect.ownKeys(Object.prototype).length + Reflect.ownKeys(Map.prototype).length, before);
    assert.equal("polluted" in {}, false);
  });

  it("accepts nested marks deeper than any recursion could go", () => {
    assert.equal(read(`N${"(".repeat(900_000)}${"1".repeat(900_000)}.`), null);
  });
});
