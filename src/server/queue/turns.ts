import { abortError, throwIfAborted } from "../../core/abort.js";
import { Quota } from "./quota.js";

interface Waiter {
  readonly client: string;
  readonly enter: () => void;
}

/**
 * Limits how many requests are processed at the same time, over all clients and per client. The next turn goes to the
 * client with the fewest running requests, and to the request that has waited longest among equals.
 */
export class Turns {
  readonly #running: Quota;
  readonly #waiting = new Set<Waiter>();

  constructor(limit: number) {
    this.#running = new Quota(limit);
  }

  /** The number of running requests. */
  get active(): number {
    return this.#running.total;
  }

  /** Resolves when the request may run; the caller must then call `release` once. @throws aborted */
  async acquire(client: string, signal: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    if (this.#running.refusal(client) === undefined) this.#running.take(client);
    else await this.#wait(client, signal);
  }

  release(client: string): void {
    this.#running.giveBack(client);
    const next = this.#next();
    if (!next) return;
    this.#running.take(next.client);
    next.enter();
  }

  #next(): Waiter | undefined {
    let next: Waiter | undefined;
    for (const waiter of this.#waiting) {
      if (this.#running.refusal(waiter.client) !== undefined) continue;
      if (!next || this.#running.held(waiter.client) < this.#running.held(next.client)) next = waiter;
    }
    return next;
  }

  #wait(client: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(waiter);
        signal.removeEventListener("abort", onAbort);
      };
      const onAbort = () => {
        leave();
        reject(abortError(signal));
      };
      const enter = () => {
        leave();
        resolve();
      };
      const waiter: Waiter = { client, enter };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiting.add(waiter);
    });
  }
}
