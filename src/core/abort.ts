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
