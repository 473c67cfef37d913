import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { z } from "zod";
import { allIssues, firstIssue, safeParse } from "../../src/core/schema.js";

const schema = z.strictObject({
  count: z.int().min(1).max(512).default(1),
  size: z.int().min(1).optional(),
  seed: z.int().min(0).optional(),
  share: z.number().gt(0).max(1).optional(),
  name: z.string().min(1).optional(),
  short: z.string().max(5).optional(),
  order: z.enum(["sum", "mean"]).optional(),
  zero: z.literal(0).nullable().optional(),
  flag: z.boolean().optional(),
  list: z
    .array(z.strictObject({ at: z.int() }))
    .max(2)
    .optional(),
  either: z.union([z.string(), z.array(z.string()).min(1).max(3)]).optional(),
  named: z.record(z.string().regex(/^[a-z]+$/, "expected letters"), z.number()).optional(),
  own: z
    .string()
    .refine((text) => text.length > 9, "expected a secret of 10 characters")
    .optional(),
  piped: z
    .string()
    .transform((text) => [text])
    .optional(),
  parts: z
    .array(
      z.discriminatedUnion("type", [
        z.strictObject({ type: z.literal("a"), a: z.int() }),
        z.strictObject({ type: z.literal("b") }),
      ]),
    )
    .optional(),
});

const cases: readonly (readonly [object, string])[] = [
  [{ count: 0 }, "'count': expected an integer from 1 to 512, got 0"],
  [{ count: 1.5 }, "'count': expected an integer from 1 to 512, got 1.5"],
  [{ count: "7" }, `'count': expected an integer from 1 to 512, got "7"`],
  [{ count: null }, "'count': expected an integer from 1 to 512, got null"],
  [{ size: 0 }, "'size': expected an integer of at least 1, got 0"],
  [{ seed: 1e30 }, "'seed': expected an integer of at least 0, got 1e+30"],
  [{ share: 0 }, "'share': expected a number above 0 and of at most 1, got 0"],
  [{ name: "" }, "'name': expected a string of at least 1 character, got 0"],
  [{ name: ["x"] }, "'name': expected a string of at least 1 character, got a list"],
  [{ short: "x".repeat(100) }, "'short': expected a string of 0 to 5 characters, got 100"],
  [{ short: 5 }, "'short': expected a string of 0 to 5 characters, got 5"],
  [{ order: "x".repeat(100) }, `'order': expected "sum" or "mean", got "${"x".repeat(40)}…"`],
  [{ zero: 1 }, "'zero': expected 0 or null, got 1"],
  [{ flag: "true" }, `'flag': expected true or false, got "true"`],
  [{ list: [{ at: 1 }, { at: "x" }] }, `'list[1].at': expected an integer, got "x"`],
  [{ list: [1, 2, 3] }, "'list': expected a list of 0 to 2 values, got 3"],
  [{ list: [1] }, "'list[0]': expected an object, got 1"],
  [{ list: [{}] }, "'list[0].at': expected an integer, got nothing"],
  [{ list: [{ at: 1, of: 2 }] }, "'list[0].of': is not a known key"],
  [{ either: {} }, "'either': expected a string or a list of 1 to 3 values, got an object"],
  [{ named: { A: 1 } }, "'named.A': expected letters"],
  [{ named: { a: "x" } }, `'named.a': expected a number, got "x"`],
  [{ own: "12345" }, "'own': expected a secret of 10 characters"],
  [{ piped: 1 }, "'piped': expected a string, got 1"],
  [{ parts: [{ type: "a", a: "x" }] }, `'parts[0].a': expected an integer, got "x"`],
  [{ parts: [{ type: "c" }] }, `'parts[0].type': expected "a" or "b", got "c"`],
  [{ x: 1, y: 2 }, "'x': is not a known key"],
  [JSON.parse('{"__proto__": {}}'), "'__proto__': is not a known key"],
];

describe("safeParse", () => {
  for (const [value, expected] of cases) {
    it(`reports what was expected and received: ${JSON.stringify(value).slice(0, 60)}`, () => {
      const { error } = safeParse(schema, value);
      assert.ok(error);
      assert.equal(firstIssue(error), expected);
    });
  }

  it("rejects a value that is not an object", () => {
    for (const [value, got] of [
      [[], "a list"],
      [undefined, "nothing"],
      ["x", '"x"'],
    ]) {
      const { error } = safeParse(schema, value);
      assert.equal(error && firstIssue(error), `expected an object, got ${got}`);
    }
  });

  it("lists all issues on one line", () => {
    const { error } = safeParse(schema, { count: 0, flag: 1 });
    const expected = "'count': expected an integer from 1 to 512, got 0; 'flag': expected true or false, got 1";
    assert.equal(error && allIssues(error), expected);
  });

  it("applies defaults and transformations to a valid value", () => {
    assert.deepEqual(safeParse(schema, { piped: "x" }).data, { count: 1, piped: ["x"] });
  });
});
