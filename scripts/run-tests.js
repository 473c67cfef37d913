// Runs the compiled tests (dist/test) with Node's own runner.
// Node 20's command line takes no glob, so the files are listed here.
//   node scripts/run-tests.js [PART]   only files whose path contains PART
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";

const part = process.argv[2] ?? "";
const files = readdirSync("dist/test", { recursive: true })
  .map((name) => join("dist/test", String(name)))
  .filter((name) => name.endsWith(".test.js") && name.includes(part))
  .sort();
if (files.length === 0) {
  console.error(`no test file matches '${part}'`);
  process.exit(1);
}
const run = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], { stdio: "inherit" });
process.exit(run.status ?? 1);
