#!/usr/bin/env node
import { CommanderError } from "commander";
import { readEnvironment } from "../core/environment.js";
import { messageOf } from "../core/errors.js";
import { ExitCode, exitCodeOf } from "./exit-code.js";
import { onClosedPipe } from "./output/output.js";
import { createProgram, errorLine } from "./program.js";

/** The process around the commands: interruption, errors, exit codes. */

const environment = readEnvironment();
const interruption = new AbortController();
/** Why the command is to end before it is done. */
let ending: "ctrl-c" | "unread output" | undefined;

function end(reason: NonNullable<typeof ending>): void {
  ending = reason;
  interruption.abort();
}

// Only once: a second Ctrl-C ends the process as if nobody listened.
process.once("SIGINT", () => end("ctrl-c"));
onClosedPipe(() => end("unread output"));

function show(error: unknown): void {
  const trace = environment.debug && error instanceof Error ? error.stack : undefined;
  process.stderr.write(errorLine(trace ?? oldNode(error) ?? messageOf(error), environment));
}

/** Packages of fastify's are modules that older versions cannot load; `engines` in package.json only warns. */
function oldNode(error: unknown): string | undefined {
  const isOld = error instanceof Error && "code" in error && error.code === "ERR_REQUIRE_ESM";
  return isOld ? `Node: expected 20.19, or 22.12 and later, got ${process.versions.node}` : undefined;
}

function reportError(error: unknown): void {
  show(error);
  process.exitCode = ExitCode.failure;
}

function fail(error: unknown): void {
  switch (ending) {
    case undefined:
      // Commander has told its errors itself.
      if (!(error instanceof CommanderError)) show(error);
      process.exitCode = exitCodeOf(error);
      return;
    // Standard input that is still open would keep the process: it does not end by itself.
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

// A thread that is closed in the middle of a call does not keep the process, which would then end before its command.
const awake = setInterval(() => undefined, 60_000);
try {
  await createProgram({ environment, signal: interruption.signal, reportError }).parseAsync();
} catch (error) {
  fail(error);
} finally {
  clearInterval(awake);
}
