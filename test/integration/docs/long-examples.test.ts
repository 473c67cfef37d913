import { before, describe, test } from "node:test";
import { longPages } from "../../docs/pages.js";
import { examplesOf } from "../../docs/run-examples.js";

for (const page of longPages) {
  const { prepare, examples } = examplesOf(page);
  describe(page, () => {
    before(prepare);
    for (const { name, skip, timeout, run } of examples) test(name, { skip, timeout }, run);
  });
}
