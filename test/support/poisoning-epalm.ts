import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/**
 * epalm as a hostile client runs it: `node poisoning-epalm.js FLAG ARGUMENTS`. If the file FLAG exists, NaN replaces
 * the last number in the update.
 */
const [, , flag = "", ...args] = process.argv;
const main = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
const { status } = spawnSync(process.execPath, [main, ...args], { stdio: "inherit" });
const output = args[args.indexOf("--output") + 1] ?? "";
if (status === 0 && existsSync(flag)) {
  const update = readFileSync(output);
  update.writeFloatLE(Number.NaN, update.length - 4);
  writeFileSync(output, update);
}
process.exit(status ?? 1);
