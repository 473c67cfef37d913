import { dirname, sep } from "node:path";

const SLOWEST = 10;

/** What Node's test runner reports, per suite: a folder of tests. */
export class TestSummary {
  #nameOf;
  /** @type {Map<string, Record<"seconds" | "processor" | "pass" | "fail" | "skipped", number> & { suite: string }>} */
  #files = new Map();
  /** @type {{ file: string, name: string, reason: string }[]} */
  #skips = [];
  #started = performance.now();

  /** @param {(file: string) => string} nameOf a file's name from the folder of all tests */
  constructor(nameOf) {
    this.#nameOf = nameOf;
  }

  /** @param {{ type: string, data: any }} event of `run` in node:test */
  add({ type, data }) {
    if (data?.file === undefined) return;
    // A file is a test itself, or a suite if it shares a process, and is named after its path. The time of a file
    // includes the start of its process, and that of the first file of a shared process the imports.
    if (type === "test:complete" && data.nesting === 0 && data.name.endsWith(".test.js"))
      this.#fileOf(this.#nameOf(data.name)).seconds = data.details.duration_ms / 1000;
    if (type !== "test:pass" && type !== "test:fail") return;
    const isSuite = data.details?.type === "suite";
    // What fails in a suite of a shared process outside of tests is the import of its file.
    const isFile = isSuite && data.nesting === 0 && data.name.endsWith(".test.js");
    if (isSuite && !(isFile && type === "test:fail" && data.details.error?.failureType !== "subtestsFailed")) return;
    const name = this.#nameOf(isFile ? data.name : data.file);
    const file = this.#fileOf(name);
    if (type === "test:fail") file.fail++;
    else if (data.skip !== undefined) {
      file.skipped++;
      const reason = typeof data.skip === "string" ? data.skip : "no reason given";
      this.#skips.push({ file: name, name: data.name, reason });
    } else file.pass++;
  }

  /**
   * @param {readonly string[]} files that one process has run, one after the other
   * @param {number} seconds of processor time, which are divided in proportion to the files' durations
   */
  addProcess(files, seconds) {
    const ran = files.map((name) => this.#fileOf(name));
    const all = ran.reduce((sum, file) => sum + file.seconds, 0);
    for (const file of ran) file.processor += all > 0 ? (seconds * file.seconds) / all : seconds / ran.length;
  }

  /** Tables as text. */
  format() {
    const files = [...this.#files.values()];
    const suites = [...new Set(files.map(({ suite }) => suite))].sort();
    const row = (title, of) => [
      title,
      String(of.length),
      ...["seconds", "processor"].map((key) => minutes(of.reduce((sum, file) => sum + file[key], 0))),
      ...["pass", "fail", "skipped"].map((key) => String(of.reduce((sum, file) => sum + file[key], 0))),
    ];
    const slowest = [...this.#files].sort(([, a], [, b]) => b.processor - a.processor).slice(0, SLOWEST);
    return [
      "",
      table([
        ["suite", "files", "minutes", "processor", "pass", "fail", "skipped"],
        ...suites.map((suite) =>
          row(
            suite,
            files.filter((file) => file.suite === suite),
          ),
        ),
        row("all", files),
      ]),
      `Files run side by side: ${minutes((performance.now() - this.#started) / 1000)} minutes in all.`,
      "",
      "largest files: seconds, and seconds of processor time",
      ...slowest.map(([file, { seconds, processor }]) =>
        ["", ...[seconds, processor].map((number) => number.toFixed(1).padStart(6)), file].join("  "),
      ),
      ...this.#formatSkips(),
    ].join("\n");
  }

  #formatSkips() {
    if (this.#skips.length === 0) return [];
    return ["", "skipped", ...this.#skips.map(({ file, name, reason }) => `  ${file}: ${name}: ${reason}`)];
  }

  #fileOf(name) {
    const known = this.#files.get(name);
    if (known) return known;
    const file = { suite: suiteOf(name), seconds: 0, processor: 0, pass: 0, fail: 0, skipped: 0 };
    this.#files.set(name, file);
    return file;
  }
}

/** The first folder below `test/`; of integration tests, that below it, too. */
function suiteOf(name) {
  const folders = dirname(name).split(sep);
  return folders.slice(0, folders[0] === "integration" ? 2 : 1).join("/");
}

function minutes(seconds) {
  return (seconds / 60).toFixed(2);
}

/** Rows as lines: the first column to the left, numbers to the right. */
function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join("  "),
    )
    .join("\n");
}
