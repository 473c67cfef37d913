#!/usr/bin/env node
import { CommanderError } from "commander";
import { readEnvironment } from "../core/environment.js";
import { messageOf } from "../core/errors.js";
import type { LoadOptions } from "../pipeline.js";
import type { OpenModel } from "./context.js";
import { ExitCode, exitCodeOf } from "./exit-code.js";
import { onClosedPipe } from "./output/output.js";
import { createProgram, errorLine } from "./program.js";

/** The process that runs the commands: it handles interruption, errors and exit codes. */

const environment = readEnvironment();
const interruption = new AbortController();
/** Why the command has to stop before it is finished. */
let ending: "ctrl-c" | "unread output" | undefined;

function end(reason: NonNullable<typeof ending>): void {
  ending = reason;
  interruption.abort();
}

// Only once, so that a second Ctrl-C ends the process at once.
process.once("SIGINT", () => end("ctrl-c"));
onClosedPipe(() => end("unread output"));

function show(error: unknown): void {
  const trace = environment.debug && error instanceof Error ? error.stack : undefined;
  process.stderr.write(errorLine(trace ?? oldNode(error) ?? messageOf(error), environment));
}

/** Older versions cannot load the ES modules that fastify depends on, and `engines` in package.json only warns. */
function oldNode(error: unknown): string | undefined {
  const isOld = error instanceof Error && "code" in error && error.code === "ERR_REQUIRE_ESM";
  return isOld ? `Node: expected 20.19, or 22.12 and later, got ${process.versions.node}` : undefined;
}

function reportError(error: unknown): void {
  show(error);
  process.exitCode = ExitCode.failure;
}

async function openModel(path: string, options: LoadOptions): Promise<OpenModel> {
  const { load } = await import("../pipeline.js");
  const model = await load(path, options);
  return { model, close: () => model.close() };
}

function fail(error: unknown): void {
  switch (ending) {
    case undefined:
      // Commander has already printed its own errors.
      if (!(error instanceof CommanderError)) show(error);
      process.exitCode = exitCodeOf(error);
      return;
    // The process does not end by itself while standard input is open.
    case "ctrl-c":
      show("interrupted");
      process.exit(ExitCode.interrupted);
      break;
    case "unread output":
      process.exit();
      break;
    default:
      ending satisfies never;
  }
}

// A worker thread that is terminated during a call does not keep the process alive, which would then end too early.
const awake = setInterval(() => undefined, 60_000);
try {
  await createProgram({ environment, signal: interruption.signal, reportError, openModel }).parseAsync();
} catch (error) {
  fail(error);
} finally {
  clearInterval(awake);
}
