import { EventEmitter } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted, untilAborted } from "../core/abort.js";
import { EpalmError, messageOf } from "../core/errors.js";
import { STARTED } from "./serve-thread.js";
import { type CallOptions, ThreadWorker } from "./thread-worker.js";

/** Calls a method of a worker thread. */
export type CallThread = (method: string, payload: unknown) => Promise<unknown>;

export interface ThreadOptions {
  /** Names the thread in messages and metrics. Default: `worker`. */
  readonly name?: string | undefined;
  /**
   * Brings a new worker to the state of the one that it replaces, before it gets other calls. Without this function, a
   * worker that ends is not replaced.
   */
  readonly restore?: ((call: CallThread) => Promise<unknown>) | undefined;
  readonly limits?: ReplacementLimits | undefined;
}

export interface ReplacementLimits {
  /** Number of replacements within `milliseconds`; if the worker ends more often, it is not replaced any more. */
  readonly replacements: number;
  readonly milliseconds: number;
  /** Wait before the first replacement; it doubles with each further one within the same time. */
  readonly delayMilliseconds: number;
}

/** Enough for rare crashes. A worker that ends more often would end again with the next request. */
const LIMITS: ReplacementLimits = { replacements: 5, milliseconds: 10 * 60_000, delayMilliseconds: 100 };

interface ThreadEvents {
  /** The worker ended unexpectedly, or could not be restored; it is replaced unless `failed` follows. */
  ended: [reason: string];
  /** A new worker has the state of the previous one. */
  replaced: [];
  /** The worker is not replaced any more; all calls are rejected with the error. */
  failed: [error: EpalmError];
}

/**
 * What an operator needs to know about a worker thread.
 *
 * @example
 * ```ts
 * import { load } from "epalm";
 * const model = await load("my-model");
 * for (const thread of model.threads) {
 *   thread.on("failed", (error) => console.error(thread.name, error.message));
 * }
 * ```
 */
export interface ThreadHealth {
  /** `sessions` (encoders and adapters), `decoder`, `media` or `bodies`. */
  readonly name: string;
  /** `replacing` while a new worker is being started and restored, `failed` if that did not succeed. */
  readonly state: "running" | "replacing" | "failed" | "closed";
  /** Number of workers that were started in place of one that had ended. */
  readonly replacements: number;
  /** The id of its present worker in `worker_threads`. */
  readonly threadId: number;
  on<Name extends keyof ThreadEvents>(event: Name, listener: (...values: ThreadEvents[Name]) => void): unknown;
  off<Name extends keyof ThreadEvents>(event: Name, listener: (...values: ThreadEvents[Name]) => void): unknown;
}

/**
 * A worker thread whose methods are called like functions (see `serveThread`). Errors keep their codes.
 *
 * If the worker ends unexpectedly, its pending calls are rejected with `unavailable`, and it is replaced. Calls that
 * arrive in the meantime wait for the new worker. If it ends too often, all calls are rejected with `internal`.
 */
export class Thread extends EventEmitter<ThreadEvents> implements ThreadHealth {
  readonly name: string;
  readonly #entry: URL;
  readonly #restore: ThreadOptions["restore"];
  readonly #limits: ReplacementLimits;
  readonly #closing = new AbortController();
  /** Times of the replacements that count for the limit. */
  #times: number[] = [];
  #worker: ThreadWorker;
  /** Resolves when the worker was replaced, or will not be. */
  #replacing: Promise<void> | undefined;
  #failure: EpalmError | undefined;
  #replacements = 0;

  /** @param entry module that calls `serveThread` */
  constructor(entry: URL, { name = "worker", restore, limits = LIMITS }: ThreadOptions = {}) {
    super();
    this.name = name;
    this.#entry = entry;
    this.#restore = restore;
    this.#limits = limits;
    this.#worker = this.#start();
    this.#observe();
  }

  get state(): ThreadHealth["state"] {
    if (this.#closing.signal.aborted) return "closed";
    if (this.#failure) return "failed";
    return this.#replacing ? "replacing" : "running";
  }

  get replacements(): number {
    return this.#replacements;
  }

  get threadId(): number {
    return this.#worker.threadId;
  }

  async call(method: string, payload: unknown, options: CallOptions = {}): Promise<unknown> {
    // The worker may end again before a waiting call is sent.
    while (this.#replacing) await untilAborted(this.#replacing, options.signal);
    if (this.#failure) throw this.#failure;
    return this.#worker.call(method, payload, options);
  }

  /**
   * Cancels all calls and ends the thread after the running work is done. If a thread is ended while ONNX Runtime is
   * computing, ONNX Runtime aborts the whole process, because it cannot create its results.
   */
  close(): Promise<void> {
    return this.#stop("was closed", (error) => this.#worker.close(error));
  }

  /** Ends the thread immediately. Only for threads that run no graphs (see `close`). */
  terminate(): Promise<void> {
    return this.#stop("was ended", (error) => this.#worker.terminate(error));
  }

  async #stop(reason: string, end: (error: EpalmError) => Promise<void>): Promise<void> {
    this.#failure ??= new EpalmError("internal", `${this.name} thread ${reason}`);
    const error = this.#failure;
    this.#closing.abort(error);
    await Promise.all([end(error), this.#replacing]);
  }

  #start(): ThreadWorker {
    const isReplaced = this.#restore !== undefined;
    return new ThreadWorker(this.#entry, (reason) =>
      isReplaced
        ? new EpalmError("unavailable", `the ${this.name} thread ended and is being replaced; try again`, {
            cause: new EpalmError("internal", reason),
          })
        : new EpalmError("internal", `${this.name} thread ${reason}`),
    );
  }

  #observe(): void {
    const { ended } = this.#worker;
    void ended.then((reason) => {
      if (this.#failure) return;
      this.#replacing = this.#replace(reason).finally(() => {
        this.#replacing = undefined;
      });
    });
  }

  async #replace(firstReason: string): Promise<void> {
    let reason: string | undefined = firstReason;
    while (reason !== undefined) {
      this.emit("ended", reason);
      if (!this.#restore || !this.#mayReplace()) return this.#fail(reason);
      await this.#pause();
      if (this.#failure) return;
      reason = await this.#tryReplacing(this.#restore);
      if (this.#failure) return;
    }
    this.emit("replaced");
  }

  /** Starts and restores a new worker. Returns the reason if that fails. */
  async #tryReplacing(restore: NonNullable<ThreadOptions["restore"]>): Promise<string | undefined> {
    const { signal } = this.#closing;
    this.#replacements++;
    this.#times.push(Date.now());
    const worker = this.#start();
    const abandon = () => void worker.close(abandoned);
    signal.addEventListener("abort", abandon, { once: true });
    try {
      await worker.call(STARTED, undefined);
      await restore((method, payload) => worker.call(method, payload));
      throwIfAborted(signal);
      this.#worker = worker;
      this.#observe();
      return undefined;
    } catch (error) {
      await worker.close(abandoned);
      return messageOf(error instanceof EpalmError && error.code === "unavailable" ? error.cause : error);
    } finally {
      signal.removeEventListener("abort", abandon);
    }
  }

  #fail(reason: string): void {
    const { replacements, milliseconds } = this.#limits;
    const often = this.#restore ? `, after ${replacements} replacements within ${milliseconds / 1000} s` : "";
    this.#failure = new EpalmError("internal", `${this.name} thread ${reason}${often}`);
    this.emit("failed", this.#failure);
  }

  #mayReplace(): boolean {
    const since = Date.now() - this.#limits.milliseconds;
    this.#times = this.#times.filter((time) => time > since);
    return this.#times.length < this.#limits.replacements;
  }

  async #pause(): Promise<void> {
    const delay = this.#limits.delayMilliseconds * 2 ** this.#times.length;
    await sleep(delay, undefined, { signal: this.#closing.signal }).catch(() => undefined);
  }
}

const abandoned = new EpalmError("internal", "the worker was not needed any more");
