// Runs compiled tests with Node's own runner, and says at the end where the time went and what was skipped.
//   node scripts/run-tests.js [PART]                 tests that need npm alone, of files whose path contains PART
//   node scripts/run-tests.js --integration [PART]   those of test/integration, which need other programs
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, relative, resolve, sep } from "node:path";
import { finished } from "node:stream/promises";
import { run } from "node:test";
import { spec, tap } from "node:test/reporters";
import { parseArgs } from "node:util";
import { TestSummary } from "./test-summary.js";

/** What takes longest begins first, so that no core is left with it alone at the end; the summary names the slowest. */
const longest = [
  "docs/examples",
  "examples",
  "cli/",
  "training/adapter/train-",
  "fedmae/pretrain",
  "server/hostile-media",
  "recipe/data/audio/",
  "server/",
];

/** Node's own default leaves one core out: on two cores, files would run one after the other. */
const FILES_AT_ONCE = availableParallelism();

const { values, positionals } = parseArgs({
  options: { integration: { type: "boolean", default: false } },
  allowPositionals: true,
});
const [part = ""] = positionals;

/** From the sources, as `dist` may hold what a test was compiled to before it was renamed. */
const tests = readdirSync("test", { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".test.ts") && join("test", name).includes(part))
  .map((name) => ({ name, isIntegration: name.startsWith(`integration${sep}`) }));
const chosen = tests.filter(({ isIntegration }) => isIntegration === values.integration);
if (chosen.length === 0) {
  const command = values.integration ? "npm test" : "npm run test:integration";
  console.error(`no test file matches '${part}'${tests.length > 0 ? `; try ${command} -- ${part}` : ""}`);
  process.exit(1);
}

/** Node names what was compiled, or with source maps where it comes from. */
function nameOf(path) {
  const compiled = resolve("dist/test");
  return relative(path.startsWith(compiled) ? compiled : resolve("test"), path).replace(/\.js$/, ".ts");
}

function rank(name) {
  const at = longest.findIndex((start) => name.startsWith(start));
  return at < 0 ? longest.length : at;
}

const files = chosen
  .map(({ name }) => name)
  .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))
  .map((name) => resolve("dist/test", name.replace(/\.ts$/, ".js")));
const events = run({ files, concurrency: FILES_AT_ONCE });
const summary = new TestSummary(nameOf);
events.on("data", (event) => summary.add(event));
events.on("test:fail", () => {
  process.exitCode = 1;
});
const report = events.compose(process.stdout.isTTY ? new spec() : tap);
report.pipe(process.stdout, { end: false });
await finished(report);
console.log(summary.format());
