import { setTimeout as sleep } from "node:timers/promises";
import { abortError } from "./abort.js";
import { EpalmError } from "./errors.js";

/** A first try and five more: with the default delay they stretch over about a quarter of a minute. */
const MAX_ATTEMPTS = 6;
/** Neither our own doubling nor a server's `Retry-After` makes us wait longer than this. */
const MAX_DELAY_MS = 60_000;

export interface RetryOptions {
  /** Milliseconds before the second try; doubles with every further one. */
  readonly delayMs: number;
  /** Ends the waiting, too. */
  readonly signal?: AbortSignal | undefined;
}

/** A failure that may be gone at the next try: of the network, or a server that is busy. */
export class TransientFailure extends EpalmError {
  /** How long the server asked us to wait, if it did. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, retryAfterMs?: number) {
    super("download_failed", message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** Runs an action again while it fails transiently; its last failure is thrown. */
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
