import assert from "node:assert/strict";
import { test } from "node:test";
import { optionEntries } from "../../src/generation/option-table.js";
import { optionSchemas } from "../../src/generation/options.js";

test("each default is a valid value of its option", () => {
  for (const [name, option] of optionEntries) optionSchemas[name].parse(option.default);
});

test("no two options share a wire name or a flag", () => {
  assert.equal(new Set(optionEntries.map(([, { wire }]) => wire)).size, optionEntries.length);
  assert.equal(new Set(optionEntries.map(([, { flag }]) => flag)).size, optionEntries.length);
});
