import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { blocksOf, longPages, pages } from "./pages.js";
import { examplesOf } from "./run-examples.js";

// test/sdk/docs.test.ts runs those of docs/sdk.md, and test/integration/docs those of the long pages.
const short = pages.filter((page) => page !== "docs/sdk.md" && !longPages.includes(page));
for (const page of short) {
  const { prepare, examples } = examplesOf(page);
  if (examples.length === 0) continue;
  describe(page, () => {
    before(prepare);
    for (const { name, skip, timeout, run } of examples) test(name, { skip, timeout }, run);
  });
}

test("docs/sdk.md has only blocks that its own test runs", () => {
  for (const { language, notRun } of blocksOf("docs/sdk.md")) assert.deepEqual([language, notRun], ["js", undefined]);
});
