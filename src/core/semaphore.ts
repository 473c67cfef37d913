import { abortError, throwIfAborted } from "./abort.js";

/** Limits how many operations run at the same time. Others wait in first-come, first-served order. */
export class Semaphore {
  readonly #waiting = new Set<() => void>();
  readonly #limit: number;
  #active = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The number of operations that are running. */
  get active(): number {
    return this.#active;
  }

  /**
   * Resolves when the operation may start; the caller must then call `release` once. @throws `aborted` if the signal
   * fires first
   */
  async acquire(signal?: AbortSignal): Promise<void> {
    if (!this.#tryAcquire(signal)) await this.#turn(signal);
  }

  /** Ends an operation and starts the one that has waited longest, if any. */
  release(): void {
    const [next] = this.#waiting;
    if (next) next();
    else this.#active--;
  }

  /** Runs `work` when the limit allows it. @throws `aborted` if the signal fires first; the errors of `work` */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (!this.#tryAcquire(signal)) await this.#turn(signal);
    try {
      return await work();
    } finally {
      this.release();
    }
  }

  #tryAcquire(signal: AbortSignal | undefined): boolean {
    throwIfAborted(signal);
    if (this.#active >= this.#limit) return false;
    this.#active++;
    return true;
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const enter = () => {
        this.#waiting.delete(enter);
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      const onAbort = () => {
        this.#waiting.delete(enter);
        reject(abortError(signal));
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.add(enter);
    });
  }
}
