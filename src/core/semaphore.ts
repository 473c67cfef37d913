import { abortError, throwIfAborted } from "./abort.js";

/** Lets a limited number of callers in at the same time; the others wait, first come, first served. */
export class Semaphore {
  readonly #waiting = new Set<() => void>();
  readonly #limit: number;
  #active = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** How many callers are in now. */
  get active(): number {
    return this.#active;
  }

  /** Resolves when the caller may go in; it must call `release` once. @throws aborted if the signal fires before */
  async acquire(signal?: AbortSignal): Promise<void> {
    if (!this.#tryAcquire(signal)) await this.#turn(signal);
  }

  /** Lets the caller in that has waited longest, if there is one. */
  release(): void {
    const [next] = this.#waiting;
    if (next) next();
    else this.#active--;
  }

  /** Runs work when there is room for it. @throws aborted if the signal fires before; what the work throws */
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
