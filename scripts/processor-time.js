// Preloaded by run-tests.js into each process that runs tests: at its end, the process adds a line with its file and
// the processor time that it and its children have used.
import { appendFileSync, readdirSync, readFileSync } from "node:fs";

/** Linux counts in hundredths of a second (`getconf CLK_TCK`), whatever its kernel was built with. */
const TICKS_PER_SECOND = 100;

const { EPALM_TEST_TIMES: output, NODE_OPTIONS: options = "" } = process.env;
// Not in the programs that the tests start: they count as children of this process.
delete process.env.EPALM_TEST_TIMES;
process.env.NODE_OPTIONS = options.replace(`--import ${import.meta.url}`, "").trim();

if (output)
  process.once("exit", () => {
    appendFileSync(output, `${JSON.stringify({ file: process.argv[1], seconds: secondsOf(process.pid) })}\n`);
  });

/** A process's own time, that of the children it has waited for, and that of those that still run. */
function secondsOf(id) {
  try {
    // The second field is the program's name in brackets; the 14th to 17th are utime, stime, cutime and cstime.
    const fields = readFileSync(`/proc/${id}/stat`, "latin1")
      .replace(/^.*\) /s, "")
      .split(" ");
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    const threads = readdirSync(`/proc/${id}/task`).map((thread) => `/proc/${id}/task/${thread}/children`);
    const running = threads.flatMap((file) => readFileSync(file, "latin1").split(" ").filter(Boolean));
    return running.reduce((sum, child) => sum + secondsOf(child), ticks / TICKS_PER_SECOND);
  } catch {
    // Another system, or a child that has just ended.
    const { user, system } = process.cpuUsage();
    return id === process.pid ? (user + system) / 1e6 : 0;
  }
}
