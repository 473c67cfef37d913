import { setMaxListeners } from "node:events";
import { cancelled, EpalmError } from "./errors.js";

/** The error of an aborted call: the signal's own reason if it is an `EpalmError`, otherwise `aborted`. */
export function abortError(signal: AbortSignal | undefined, what = "the request"): EpalmError {
  const reason: unknown = signal?.reason;
  return reason instanceof EpalmError ? reason : cancelled(what, reason);
}

/** @throws `abortError` if the signal has fired */
export function throwIfAborted(signal: AbortSignal | undefined, what?: string): void {
  if (signal?.aborted) throw abortError(signal, what);
}

/**
 * Waits for work that does not accept a signal itself: rejects with `abortError` when the signal fires. The work
 * continues, and its later result or error is ignored.
 */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined, what?: string): Promise<T> {
  if (!signal) return work;
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(abortError(signal, what));
    // The work may abort its own signal before this function first waits.
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

/**
 * Runs work with a signal of its own, which fires when one of the given signals fires. In Node 20, a signal remembers
 * every signal that `AbortSignal.any` derived from it; of this one, nothing is left when the work is done.
 */
export async function withOwnSignal<T>(
  signals: readonly AbortSignal[],
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const own = new AbortController();
  const releases = signals.map((signal) => {
    const onAbort = () => own.abort(signal.reason);
    if (signal.aborted) onAbort();
    shareSignal(signal);
    signal.addEventListener("abort", onAbort, { once: true });
    return () => signal.removeEventListener("abort", onAbort);
  });
  try {
    return await work(own.signal);
  } finally {
    for (const release of releases) release();
  }
}

/** Lets any number of calls wait for a signal at the same time, of which Node warns otherwise. */
export function shareSignal(signal: AbortSignal): AbortSignal {
  setMaxListeners(0, signal);
  return signal;
}
