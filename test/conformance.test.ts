import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { notYet, openCase } from "../bench/conformance/case.js";
import { checkCase } from "../bench/conformance/check-case.js";

const goldens = "test/fixtures/goldens";

describe("models built from public files", () => {
  const cases = readdirSync(goldens).filter((name) => {
    const folder = join(goldens, name);
    return existsSync(join(folder, "golden.safetensors")) && notYet(folder) === undefined;
  });

  it("has cases", () => assert.ok(cases.length >= 5));

  for (const name of cases) {
    it(`gives the reference's numbers: ${name}`, async () => {
      const failed = (await checkCase(openCase(join(goldens, name), name))).filter(({ passed }) => !passed);
      assert.deepEqual(failed, []);
    });
  }
});
