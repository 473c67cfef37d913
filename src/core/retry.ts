import { setTimeout as sleep } from "node:timers/promises";
import { abortError } from "./abort.js";
import { EpalmError } from "./errors.js";

/** One attempt and five retries: with the default delay they span about 15 seconds. */
const MAX_ATTEMPTS = 6;
/** Upper bound of every delay, whether computed by doubling or requested by a server's `Retry-After`. */
const MAX_DELAY_MS = 60_000;

export interface RetryOptions {
  /** Milliseconds before the first retry; doubled for each further one. */
  readonly delayMs: number;
  /** Also ends the waiting between attempts. */
  readonly signal?: AbortSignal | undefined;
}

/** A failure that may not recur: a network error, or a server that is busy. */
export class TransientFailure extends EpalmError {
  /** Delay that the server requested, in milliseconds; undefined if it requested none. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, retryAfterMs?: number) {
    super("download_failed", message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** Repeats an action that fails with `TransientFailure`, and throws the error of the last attempt. */
export async function withRetries<T>(action: () => Promise<T>, options: RetryOptions): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof TransientFailure) || attempt === MAX_ATTEMPTS) throw error;
      const delay = error.retryAfterMs ?? options.delayMs * 2 ** (attempt - 1);
      await pause(Math.min(delay, MAX_DELAY_MS), options.signal);
    }
  }
}

async function pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(delayMs, undefined, signal ? { signal } : {});
  } catch {
    throw abortError(signal, "the download");
  }
}
