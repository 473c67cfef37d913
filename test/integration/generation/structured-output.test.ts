import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openGolden } from "../../support/golden-decoder.js";
import { checkRandomSchemas } from "../../support/structured-output.js";

describe("structured output, at length", () => {
  for (const [name, from] of [
    ["opt-6states-mlp10", 1000],
    ["llama-shared-1token", 1500],
  ] as const) {
    it(`writes documents that match 500 random schemas with ${name}`, async () => {
      const golden = await openGolden(name);
      try {
        const finishes = await checkRandomSchemas(golden, { from, count: 500 });
        assert.ok(finishes.length > 50 && finishes.end > 50, JSON.stringify(finishes));
      } finally {
        await golden.close();
      }
    });
  }
});
