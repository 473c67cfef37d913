// Runs compiled tests with Node's own runner, and says at the end where the time went and what was skipped.
//   node scripts/run-tests.js [PART]                 tests that need npm alone, of files whose path contains PART
//   node scripts/run-tests.js --integration [PART]   those of test/integration, which need other programs or long
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, relative, resolve, sep } from "node:path";
import { finished } from "node:stream/promises";
import { run } from "node:test";
import { spec, tap } from "node:test/reporters";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { TestSummary } from "./test-summary.js";

/** What takes longest begins first, so that no core is left with it alone at the end; the summary names the slowest. */
const longest = ["docs/examples", "examples", "cli/", "fedmae/pretrain", "server/"];

/**
 * Starting a process and importing the sources takes 0.3 to 1.3 s of CPU time, more than most tests. Files of these
 * folders therefore share processes. A file whose tests count processes, or change or measure what belongs to the
 * whole process, has a process of its own, and so has one that awaits something before it declares its tests, for
 * which Node's runner does not wait.
 */
const sharing =
  /^(adapter|autodiff|backbones|cli|core|encoding|formats|generation|graph|media|model|preprocessing|recipe|sdk|server|tensor|tokenizer|training)\//;
const alone = [
  "cli/bulk/s3",
  "cli/many-pictures",
  "cli/startup",
  "cli/terminal",
  "core/files/lock-path",
  "formats/hostile-documents",
  "formats/published-cases",
  "media/decode/ffmpeg/find-ffmpeg",
  "media/decode/ffmpeg/run-ffmpeg",
  "media/decode/image/image-processes",
  "sdk/client",
  "sdk/docs",
  "sdk/multimodal-model",
  "server/clients",
  "server/http/page-routes",
  "server/http/rate-limits",
  "server/isolation",
  "server/overload",
  "server/raw-media",
  "server/slow-media",
  "server/temporary-files",
  "server/traces",
  "training/adapter/train-model",
  "training/encoder/finetune",
];
const FILES_PER_PROCESS = 16;

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

function shares(name) {
  return sharing.test(name) && !alone.some((start) => name.startsWith(start));
}

const folder = mkdtempSync(join(tmpdir(), "epalm-tests-"));
process.once("exit", () => rmSync(folder, { recursive: true }));

/** The files of a process by the file that it was started with. */
const filesOf = new Map();

/** Writes a file that runs several files as suites named like them, as Node names a file that runs alone. */
function together(paths, index) {
  if (paths.length === 1) return paths[0];
  const suites = paths.map((path) => {
    const url = JSON.stringify(pathToFileURL(path));
    return `describe(${JSON.stringify(path)}, async () => void (await import(${url})));\n`;
  });
  const file = join(folder, `${index}.mjs`);
  // Its hooks are those of the process, not of the first file that uses it.
  const hooks = resolve("dist/test/support/at-end.js");
  const imports = existsSync(hooks) ? `import ${JSON.stringify(pathToFileURL(hooks))};\n` : "";
  writeFileSync(file, `${imports}import { describe } from "node:test";\n${suites.join("")}`);
  filesOf.set(file, paths);
  return file;
}

function piecesOf(list, length) {
  return Array.from({ length: Math.ceil(list.length / length) }, (_, at) => list.slice(at * length, (at + 1) * length));
}

const names = chosen.map(({ name }) => name).sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
const compiled = (name) => resolve("dist/test", name.replace(/\.ts$/, ".js"));
const processes = [
  ...names.filter((name) => !shares(name)).map((name) => [name]),
  ...piecesOf(names.filter(shares), FILES_PER_PROCESS),
].sort(([a], [b]) => rank(a) - rank(b));
const files = processes.map((of, index) => together(of.map(compiled), index));
// processor-time.js writes a line at the end of each process.
const times = join(folder, "times.jsonl");
process.env.EPALM_TEST_TIMES = times;
process.env.NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ""} --import ${new URL("processor-time.js", import.meta.url)}`;
// Files run side by side, and ONNX Runtime's threads keep their cores busy while they wait: twice the time of training.
process.env.EPALM_THREADS = "1";
const events = run({ files, concurrency: FILES_AT_ONCE });
const summary = new TestSummary(nameOf);
events.on("data", (event) => summary.add(event));
events.on("test:fail", () => {
  process.exitCode = 1;
});
const report = events.compose(process.stdout.isTTY ? new spec() : tap);
report.pipe(process.stdout, { end: false });
await finished(report);
const lines = existsSync(times) ? readFileSync(times, "utf8").trim().split("\n") : [];
for (const { file, seconds } of lines.map((line) => JSON.parse(line)))
  summary.addProcess((filesOf.get(file) ?? [file]).map(nameOf), seconds);
console.log(summary.format());
