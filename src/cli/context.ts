import type { Environment } from "../core/environment.js";

/** What every command gets besides its own words. */
export interface CliContext {
  readonly environment: Environment;
  /** Fires on Ctrl-C, and when nobody reads the output any more. */
  readonly signal: AbortSignal;
  /** Tells the user of an error that does not end the run; the exit code is then 1. */
  reportError(error: unknown): void;
}
