import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openCase } from "../bench/conformance/case.js";
import { checkAst } from "../bench/conformance/check-ast.js";
import { checkCase } from "../bench/conformance/check-case.js";

const goldens = "test/fixtures/goldens";

describe("models built from public files", () => {
  const cases = readdirSync(goldens).filter((name) => existsSync(join(goldens, name, "case.json")));

  it("has cases", () => assert.ok(cases.length >= 6));

  for (const name of cases) {
    it(`gives the reference's numbers: ${name}`, async () => {
      const failed = (await checkCase(openCase(join(goldens, name), name))).filter(({ passed }) => !passed);
      assert.deepEqual(failed, []);
    });
  }

  it("gives the reference's states of sounds: ast", async () => {
    const failed = (await checkAst(join(goldens, "ast"))).filter(({ passed }) => !passed);
    assert.deepEqual(failed, []);
  });
});
