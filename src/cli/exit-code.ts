import { CommanderError } from "commander";
import { EpalmError } from "../core/errors.js";

/** The exit codes, which the program's help lists as well. */
export const ExitCode = {
  ok: 0,
  /** The command line is valid, but the command failed. */
  failure: 1,
  /** The command line is invalid. */
  usage: 2,
  /** Ctrl-C: 128 plus the number of the signal, as in shells. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** The exit code for any value that a command throws. Commander throws for `--help`, too. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.ok : ExitCode.usage;
  if (!(error instanceof EpalmError)) return ExitCode.failure;
  return error.code === "invalid_option" ? ExitCode.usage : ExitCode.failure;
}
