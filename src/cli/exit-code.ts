import { CommanderError } from "commander";
import { EpalmError } from "../core/errors.js";

/** What the process ends with; the program's help says the same. */
export const ExitCode = {
  ok: 0,
  /** The command was understood, and failed. */
  failure: 1,
  /** The command line cannot be used as it stands. */
  usage: 2,
  /** Ctrl-C: 128 and the signal's number, as shells have it. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** The exit code for anything that a command has thrown; commander throws for `--help`, too. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.ok : ExitCode.usage;
  if (!(error instanceof EpalmError)) return ExitCode.failure;
  return error.code === "invalid_option" ? ExitCode.usage : ExitCode.failure;
}
