import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { httpReference, optionReference } from "../../src/server/http/http-reference.js";

test("docs/http.md is what the service's OpenAPI document says; `npm run docs:http` writes it again", () => {
  assert.equal(readFileSync("docs/http.md", "utf8"), httpReference());
});

test("docs/sdk.md has the table of the options of generation; `npm run docs:http` writes it again", () => {
  assert.ok(readFileSync("docs/sdk.md", "utf8").includes(`\n\n${optionReference()}\n\n`));
});
