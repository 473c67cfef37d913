import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";

describe("the model card", () => {
  const card = readFileSync("models/recipe/CARD.md", "utf8");

  it("is the README of the bundled model", () => {
    assert.equal(readFileSync("models/default/README.md", "utf8"), card);
  });

  it("links to files that exist", () => {
    for (const [, target = ""] of card.matchAll(/\]\((?!\w+:|#)([^)#]+)/g)) {
      assert.ok(existsSync(join("models/default", target)), target);
    }
  });
});
