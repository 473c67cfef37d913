import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../src/core/errors.js";
import { openCase } from "./case.js";
import { checkAst } from "./check-ast.js";
import { checkCase } from "./check-case.js";
import { CONNECTOR_FILE, checkConnector } from "./check-connector.js";
import { checkDecoder } from "./check-decoder.js";
import { checkEncoder } from "./check-encoder.js";
import { checkMae } from "./check-mae.js";
import { checkCaptionMetrics, checkVqaAnswers } from "./check-metrics.js";
import { checkVlm, VLM_FILE } from "./check-vlm.js";
import type { Check } from "./compare.js";
import { openGolden } from "./golden.js";

/**
 * npm run conformance -- DIR
 *
 * Builds every case under DIR from its public files and compares the results with those of the torch reference.
 * Prints a table. Exits with 1 if a result differs, and with 2 if there is nothing to check.
 */

interface Line extends Omit<Check, "passed"> {
  readonly name: string;
  readonly state: "ok" | "FAIL";
}

const folder = process.argv[2];
if (folder === undefined || !existsSync(folder)) {
  console.error("usage: npm run conformance -- DIR   (a folder of cases, such as test/fixtures/goldens)");
  process.exit(2);
}

/** Files of expected results that need no model. */
const fileChecks: ReadonlyMap<string, (path: string) => Check[]> = new Map([
  ["caption-metrics.json", checkCaptionMetrics],
  ["vqa-answers.json", checkVqaAnswers],
]);

async function linesOf(name: string, path: string): Promise<Line[]> {
  if (statSync(path).isFile()) {
    const check = fileChecks.get(name);
    return check ? linesFrom(name, () => check(path)) : [];
  }
  if (!existsSync(join(path, "golden.safetensors"))) return [];
  if (existsSync(join(path, CONNECTOR_FILE))) return linesFrom(name, () => checkConnector(path));
  if (existsSync(join(path, VLM_FILE))) return linesFrom(name, () => checkVlm(path));
  if (existsSync(join(path, "mae"))) return linesFrom(name, () => checkMae(path));
  if (existsSync(join(path, "case.json"))) return linesFrom(name, () => checkCase(openCase(path, name)));
  if (existsSync(join(path, "encoder"))) return linesFrom(name, () => checkAst(path));
  // Weights without a config are published ones, whose sizes these tiny files do not have.
  if (!existsSync(join(path, "config.json"))) return [];
  return linesFrom(name, () => (hasLogits(path) ? checkDecoder(path) : checkEncoder(path)));
}

/** Whether a folder contains a decoder rather than an encoder, as in test/fixtures/backbones. */
function hasLogits(path: string): boolean {
  const golden = openGolden(path);
  golden.close();
  return golden.has("logits");
}

async function linesFrom(name: string, check: () => Check[] | Promise<Check[]>): Promise<Line[]> {
  try {
    const checks = await check();
    return checks.map(({ what, passed, found }): Line => ({ name, what, found, state: passed ? "ok" : "FAIL" }));
  } catch (error) {
    return [{ name, what: "runs", state: "FAIL", found: messageOf(error) }];
  }
}

const lines: Line[] = [];
for (const name of readdirSync(folder).sort()) lines.push(...(await linesOf(name, join(folder, name))));
const [names, whats] = [
  Math.max(...lines.map((line) => line.name.length)),
  Math.max(...lines.map((line) => line.what.length)),
];
for (const { name, what, state, found } of lines) {
  console.log(`${name.padEnd(names)}  ${what.padEnd(whats)}  ${state.padEnd(4)}  ${found}`);
}
const count = (state: Line["state"]) => lines.filter((line) => line.state === state).length;
console.log(`\n${count("ok")} ok, ${count("FAIL")} failed`);
process.exit(count("FAIL") > 0 ? 1 : count("ok") === 0 ? 2 : 0);
