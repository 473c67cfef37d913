import type { Environment } from "../core/environment.js";
import type { LoadOptions, Model } from "../pipeline.js";
import type { Network } from "../server/requests/remote-media.js";

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
  /** Access to the hosts of media that are URLs. Default: that of the system. */
  readonly network?: Network | undefined;
}
