import type { Environment } from "../core/environment.js";

/** What every command receives in addition to its own arguments. */
export interface CliContext {
  readonly environment: Environment;
  /** Fires on Ctrl-C, and when the reader of the output closes the pipe. */
  readonly signal: AbortSignal;
  /** Prints an error that does not end the run, and sets the exit code to 1. */
  reportError(error: unknown): void;
}
