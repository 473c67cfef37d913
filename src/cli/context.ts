import type { Environment } from "../core/environment.js";
import type { LoadOptions, Model } from "../pipeline.js";

/** A model that a command uses until it calls `close`. */
export interface OpenModel {
  readonly model: Model;
  close(): Promise<void>;
}

/** What every command receives in addition to its own arguments. */
export interface CliContext {
  readonly environment: Environment;
  /** Fires on Ctrl-C, and when the reader of the output closes the pipe. */
  readonly signal: AbortSignal;
  /** Prints an error that does not end the run, and sets the exit code to 1. */
  reportError(error: unknown): void;
  openModel(path: string, options: LoadOptions): Promise<OpenModel>;
}
