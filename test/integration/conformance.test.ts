import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openCase } from "../../bench/conformance/case.js";
import { checkAst } from "../../bench/conformance/check-ast.js";
import { checkCase } from "../../bench/conformance/check-case.js";
import { CONNECTOR_FILE, checkConnector } from "../../bench/conformance/check-connector.js";
import { checkVlm, VLM_FILE } from "../../bench/conformance/check-vlm.js";

const goldens = "test/fixtures/goldens";
const connectors = "test/fixtures/connectors";
const vlms = "test/fixtures/vlms";

describe("models built from public files", () => {
  const cases = readdirSync(goldens).filter((name) => existsSync(join(goldens, name, "case.json")));

  it("has cases", () => assert.ok(cases.length >= 6));

  for (const name of cases) {
    it(`gives the reference's numbers: ${name}`, async () => {
      const failed = (await checkCase(openCase(join(goldens, name), name))).filter(({ passed }) => !passed);
      assert.deepEqual(failed, []);
    });
  }

  for (const name of readdirSync(connectors).filter((name) => existsSync(join(connectors, name, CONNECTOR_FILE)))) {
    it(`gives torch's numbers with visual tokens, cached and in a mixed batch: ${name}`, async () => {
      const failed = (await checkConnector(join(connectors, name))).filter(({ passed }) => !passed);
      assert.deepEqual(failed, []);
    });
  }

  for (const name of readdirSync(vlms).filter((name) => existsSync(join(vlms, name, VLM_FILE)))) {
    it(`gives transformers' pixels, prompts, logits and texts of a vision-language model: ${name}`, async () => {
      const failed = (await checkVlm(join(vlms, name))).filter(({ passed }) => !passed);
      assert.deepEqual(failed, []);
    });
  }

  it("gives the reference's states of sounds: ast", async () => {
    const failed = (await checkAst(join(goldens, "ast"))).filter(({ passed }) => !passed);
    assert.deepEqual(failed, []);
  });
});
