import { EpalmError } from "../core/errors.js";

/** Waits for work that takes no signal itself: rejects with `aborted` when the signal fires, and leaves the work alone. */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(interrupted());
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** Between two pieces of work that are better not left alone. */
export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw interrupted();
}

function interrupted(): EpalmError {
  return new EpalmError("aborted", "interrupted");
}
