import { AsyncLocalStorage } from "node:async_hooks";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import { CommanderError } from "commander";
import type { CliContext, OpenModel } from "../../src/cli/context.js";
import { type ExitCode, exitCodeOf } from "../../src/cli/exit-code.js";
import { createProgram, errorLine } from "../../src/cli/program.js";
import { readEnvironment } from "../../src/core/environment.js";
import { messageOf } from "../../src/core/errors.js";
import { type LoadOptions, load, type Model } from "../../src/index.js";
import { MANIFEST_FILE } from "../../src/model/manifest.js";
import { atEnd } from "./at-end.js";

/** Relative to the compiled tests, in any output folder. */
const MAIN = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));

/** Limits the time of a process that hangs; commands take far less, even on a machine with other work. */
const TIMEOUT_MS = 300_000;

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
export function epalmProcess(args: readonly string[], surroundings: Surroundings = {}): Promise<Finished> {
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

/** The environment of a process in which a package is not installed. */
export function withoutPackage(name: string): Readonly<Record<string, string>> {
  const hooks = `export async function resolve(name, context, next) {
    if (name === "${name}") throw Object.assign(new Error(name), { code: "ERR_MODULE_NOT_FOUND" });
    return next(name, context);
  }`;
  const url = (source: string) => `data:text/javascript,${encodeURIComponent(source)}`;
  const register = `import { register } from "node:module"; register(${JSON.stringify(url(hooks))});`;
  return { NODE_OPTIONS: `--import ${url(register)}` };
}

/** What each command that runs in this process has written so far. */
const outputOf = new AsyncLocalStorage<{ stdout: string; stderr: string }>();
for (const name of ["stdout", "stderr"] as const) {
  const write = process[name].write.bind(process[name]) as (...args: unknown[]) => boolean;
  process[name].write = (chunk: string | Uint8Array, ...more: unknown[]): boolean => {
    const output = outputOf.getStore();
    if (!output) return write(chunk, ...more);
    output[name] += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString();
    return true;
  };
}

/** Models that commands in this process have opened and no command is using. */
const idle = new Map<string, Model[]>();
atEnd(async () => {
  for (const model of [...idle.values()].flat()) await model.close();
});

/** Uses an idle model of the same folder if its manifest has not changed since the model was opened. */
export async function openModel(path: string, options: LoadOptions): Promise<OpenModel> {
  const manifest = join(path, MANIFEST_FILE);
  const content = existsSync(manifest) ? readFileSync(manifest, "utf8") : undefined;
  const key = JSON.stringify([resolve(path), options, content]);
  const model = idle.get(key)?.pop() ?? (await load(path, options));
  return { model, close: async () => void idle.set(key, [...(idle.get(key) ?? []), model]) };
}

/**
 * Runs a command line in this process, which has loaded the modules and often the model already; starting a process and
 * opening a model take longer than most commands. Use `epalmProcess` for what concerns the process itself: standard
 * input, environment variables, signals, terminals, and whether it ends.
 */
export async function epalm(args: readonly string[], more: Partial<CliContext> = {}): Promise<Finished> {
  const output = { stdout: "", stderr: "" };
  const environment = readEnvironment();
  const { signal } = new AbortController();
  let code: ExitCode = 0;
  const show = (error: unknown) => process.stderr.write(errorLine(messageOf(error), environment));
  const reportError = (error: unknown) => {
    show(error);
    code = 1;
  };
  await outputOf.run(output, async () => {
    try {
      await createProgram({ environment, signal, reportError, openModel, ...more }).parseAsync(args, { from: "user" });
    } catch (error) {
      // Commander has already printed its own errors.
      if (!(error instanceof CommanderError)) show(error);
      code = exitCodeOf(error);
    }
  });
  return { code, ...output };
}

/** Creates a folder that is deleted after the tests of the file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "epalm-cli-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Builds the tiny model, by default in fp32, with one adapter `a` for both tasks. */
export function buildTiny(output: string, ...more: readonly string[]): Promise<Finished> {
  const sources = ["--encoder", join(GOLDEN, "encoder"), "--decoder", join(GOLDEN, "decoder")];
  const adapter = ["--adapter", `a=${join(GOLDEN, "adapter.pth")}`];
  const precision = more.includes("--precision") ? [] : ["--precision", "fp32"];
  return epalm(["build", ...sources, ...adapter, ...precision, "--output", output, ...more]);
}
