import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { readSampleNotes } from "../../src/model/sample-notes.js";

describe("the model card", () => {
  const card = readFileSync("models/recipe/CARD.md", "utf8");

  it("is the README of the bundled model, with a table of all samples and their captions", () => {
    const readme = readFileSync("models/default/README.md", "utf8");
    const [before = "", after = ""] = card.split("<!-- samples -->");
    assert.ok(readme.startsWith(before) && readme.endsWith(after));
    const table = readme.slice(before.length, readme.length - after.length);
    for (const [name, { expected }] of Object.entries(readSampleNotes("models/default/samples"))) {
      assert.ok(table.includes(`| ${name} | `) && table.includes(expected), name);
    }
  });

  it("links to files that exist", () => {
    for (const [, target = ""] of card.matchAll(/\]\((?!\w+:|#)([^)#]+)/g)) {
      assert.ok(existsSync(join("models/default", target)), target);
    }
  });
});
