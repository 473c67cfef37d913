import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { median } from "../src/cli/measure/median.js";
import { EpalmError } from "../src/core/errors.js";
import type { Measurement } from "./measurement.js";

const ROUNDS = 10;

const MAIN = fileURLToPath(new URL("../src/cli/main.js", import.meta.url));
const CHECKPOINT = join("test", "fixtures", "goldens", "opt-shared-1token", "decoder");
const PICTURE = join("models", "default", "samples", "red-apple.jpg");

/** What everything else is compared with: Node alone. */
const NODE_ALONE = ["-e", "0"];

const commandLines = [
  ["--version"],
  ["--help"],
  ["caption", "--help"],
  ["serve", "--help"],
  ["fedmae", "pretrain", "--help"],
  ["completion", "bash"],
  ["inspect", CHECKPOINT],
  ["caption", PICTURE],
] as const;

export const startup: Measurement = {
  summary: "milliseconds that light commands and a caption of one image take, beside those of `node -e 0`",
  async run({ say, rounds = ROUNDS }) {
    say(`measuring: startup, ${rounds} rounds`);
    const runs = [NODE_ALONE, ...commandLines.map((words) => [MAIN, ...words])].map((args) => ({
      args,
      times: [] as number[],
    }));
    // The first round reads files that later ones find in memory; it does not count.
    for (const { args } of runs) timeOf(args);
    // In turn, so that whatever else the machine does falls on all alike.
    for (let round = 0; round < rounds; round++) for (const { args, times } of runs) times.push(timeOf(args));
    const [alone = 0, ...medians] = runs.map(({ times }) => median(times));
    return [
      {
        title: `startup: ms from the start of a process to its end, medians of ${rounds}`,
        columns: [
          { key: "command", title: "command" },
          { key: "milliseconds", title: "ms", digits: 1 },
          { key: "ratio", title: "over node -e 0", digits: 2 },
        ],
        rows: [
          { command: `node ${NODE_ALONE.join(" ")}`, milliseconds: alone, ratio: 1 },
          ...commandLines.map((words, at) => {
            const milliseconds = medians[at] ?? Number.NaN;
            return { command: `epalm ${words.join(" ")}`, milliseconds, ratio: milliseconds / alone };
          }),
        ],
        notes: [
          "at most 3 times node -e 0 for --version and --help: what a command does is loaded when it runs",
          "caption: with the bundled model, from the start of the process to its end",
        ],
      },
    ];
  },
};

/** Milliseconds of a whole process. */
function timeOf(args: readonly string[]): number {
  const started = performance.now();
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  const milliseconds = performance.now() - started;
  if (status === 0) return milliseconds;
  throw new EpalmError("internal", `node ${args.join(" ")}: ended with ${status}: ${stderr}`);
}
