import type { EpalmError } from "../core/errors.js";
import { AbortError, EpalmTimeoutError } from "./client-errors.js";

const CANCELLED = "the call was cancelled";

/**
 * The timeout of one call, including all attempts and pauses, and the signals that can cancel it. `AbortSignal.any` is
 * not used, because on Node 20 it leaks memory on long-lived signals.
 */
export class CallClock {
  readonly #controller = new AbortController();
  readonly #callers: readonly AbortSignal[];
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #end: number;
  #reason: EpalmError | undefined;

  /** @param timeout milliseconds */
  constructor(timeout: number, callers: readonly (AbortSignal | undefined)[]) {
    this.#callers = callers.filter((caller) => caller !== undefined);
    this.#end = performance.now() + timeout;
    this.#timer = setTimeout(() => this.#stop(new EpalmTimeoutError(timeout)), timeout);
    for (const caller of this.#callers) caller.addEventListener("abort", this.#cancel);
    if (this.#callers.some(({ aborted }) => aborted)) this.#cancel();
  }

  /** Fires when the call ends for any reason. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Milliseconds until the timeout. */
  get remaining(): number {
    return this.#end - performance.now();
  }

  /** Why the call was stopped: an `AbortError` or an `EpalmTimeoutError`. Undefined if it was not stopped. */
  get reason(): EpalmError | undefined {
    return this.#reason;
  }

  /** Resolves to the result of the work, unless the call ends first. @throws `reason` */
  async race<T>(work: Promise<T>): Promise<T> {
    let onAbort: (() => void) | undefined;
    const over = new Promise<never>((_, reject) => {
      onAbort = () => reject(this.#reason ?? new AbortError(CANCELLED));
      if (this.signal.aborted) onAbort();
      else this.signal.addEventListener("abort", onAbort);
    });
    try {
      return await Promise.race([work, over]);
    } finally {
      if (onAbort) this.signal.removeEventListener("abort", onAbort);
    }
  }

  /** @throws `reason` if the call ends during the pause */
  async pause(milliseconds: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      await this.race(
        new Promise<void>((resolve) => {
          timer = setTimeout(resolve, milliseconds);
        }),
      );
    } finally {
      clearTimeout(timer);
    }
  }

  /** Aborts everything that the call still has open, and removes the listeners from the callers' signals. */
  end(): void {
    clearTimeout(this.#timer);
    for (const caller of this.#callers) caller.removeEventListener("abort", this.#cancel);
    this.#controller.abort();
  }

  readonly #cancel = () => {
    const fired = this.#callers.find(({ aborted }) => aborted);
    this.#stop(new AbortError(CANCELLED, { cause: fired?.reason }));
  };

  #stop(reason: EpalmError): void {
    this.#reason ??= reason;
    this.#controller.abort(this.#reason);
  }
}
