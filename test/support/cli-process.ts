import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { fileURLToPath } from "node:url";

/** Relative to the compiled tests, in any output folder. */
const MAIN = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));

/** Limits the time of a process that hangs. */
const TIMEOUT_MS = 60_000;

export const GOLDEN = join("test", "fixtures", "goldens", "opt-shared-1token");

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Surroundings {
  /** Standard input; `"open"` sends nothing and does not end. Default: empty. */
  readonly input?: Uint8Array | "open";
  readonly env?: Readonly<Record<string, string>>;
  /** The signal to send at the first output of the process. */
  readonly signalWhenBusy?: NodeJS.Signals;
}

/** Runs the real command line in a separate process until it ends. */
export function epalm(args: readonly string[], surroundings: Surroundings = {}): Promise<Finished> {
  const { input, env, signalWhenBusy } = surroundings;
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { ...process.env, ...env },
    timeout: TIMEOUT_MS,
  });
  const said = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      if (said.stdout + said.stderr === "" && signalWhenBusy) child.kill(signalWhenBusy);
      said[name] += text;
    });
  }
  // A command that rejects its options does not read its input.
  child.stdin.on("error", () => undefined);
  if (input !== "open") child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...said }));
  });
}

/** Creates a folder that is deleted after the tests of the file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "epalm-cli-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Builds the tiny model in fp32, with one adapter `a` for both tasks. */
export function buildTiny(output: string, ...more: readonly string[]): Promise<Finished> {
  const sources = ["--encoder", join(GOLDEN, "encoder"), "--decoder", join(GOLDEN, "decoder")];
  const adapter = ["--adapter", `a=${join(GOLDEN, "adapter.pth")}`];
  return epalm(["build", ...sources, ...adapter, "--precision", "fp32", "--output", output, ...more]);
}
