import { cancelled, EpalmError } from "./errors.js";

/** What an aborted call rejects with: the signal's own reason where it is an error of epalm, else `aborted`. */
export function abortError(signal: AbortSignal | undefined, what = "the request"): EpalmError {
  const reason: unknown = signal?.reason;
  return reason instanceof EpalmError ? reason : cancelled(what, reason);
}

/** @throws `abortError` if the signal has fired */
export function throwIfAborted(signal: AbortSignal | undefined, what?: string): void {
  if (signal?.aborted) throw abortError(signal, what);
}

/**
 * Waits for work that takes no signal itself: rejects with `abortError` when the signal fires. The work is left alone,
 * and what it gives or throws afterwards is ignored.
 */
export function untilAborted<T>(
  work: Promise<T>,
  signal: AbortSignal | undefined,
  what?: string,
): Promise<T> {
  if (!signal) return work;
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(abortError(signal, what));
    // The work may abort its own signal before it first waits.
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
