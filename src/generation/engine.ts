import { setImmediate as nextTurn } from "node:timers/promises";
import { EpalmError } from "../errors.js";
import type { Decoder } from "./decoder.js";
import type { Job } from "./job.js";
import { defaultLimits, Scheduler, type SchedulerLimits } from "./scheduler.js";

/** Told after each step that a job took part in. */
export type Progress = () => void;

/** What was done so far, and what waits now. */
export interface EngineCounts {
  readonly steps: number;
  /** Summed over the steps: divided by them, the mean batch. */
  readonly rows: number;
  /** Rows of the last step. */
  readonly lastRows: number;
  /** Jobs that wait for room. */
  readonly waiting: number;
}

interface Waiting {
  readonly onProgress: Progress;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Runs jobs on one decoder until they are done: plan, compute, commit, as long as there is work. Jobs of all
 * callers share the steps.
 */
export class Engine {
  readonly decoder: Decoder;
  readonly #scheduler: Scheduler;
  readonly #jobs = new Map<Job, Waiting>();
  /** Jobs that are done or were taken back; the scheduler forgets them before its next plan. */
  readonly #settled = new Set<Job>();
  #loop: Promise<void> | undefined;
  #steps = 0;
  #rows = 0;
  #lastRows = 0;

  constructor(decoder: Decoder, limits: SchedulerLimits = defaultLimits) {
    this.decoder = decoder;
    this.#scheduler = new Scheduler(limits);
  }

  get counts(): EngineCounts {
    const lastRows = this.#loop ? this.#lastRows : 0;
    return { steps: this.#steps, rows: this.#rows, lastRows, waiting: this.#scheduler.waiting };
  }

  /** Resolves when the job is done; rejects with `aborted` as soon as the signal fires. */
  run(
    job: Job,
    options: { readonly signal?: AbortSignal | undefined; readonly onProgress?: Progress } = {},
  ): Promise<void> {
    const { signal, onProgress = () => undefined } = options;
    if (signal?.aborted) return Promise.reject(aborted());
    return new Promise<void>((resolve, reject) => {
      this.#scheduler.add(job);
      const onAbort = () => this.#settle(job, (waiting) => waiting.reject(aborted()));
      const forget = () => signal?.removeEventListener("abort", onAbort);
      this.#jobs.set(job, {
        onProgress,
        resolve() {
          forget();
          resolve();
        },
        reject(error) {
          forget();
          reject(error);
        },
      });
      signal?.addEventListener("abort", onAbort);
      this.#loop ??= this.#work();
    });
  }

  async #work(): Promise<void> {
    try {
      // Between two steps, messages of other jobs come in: new ones, and those that were taken back.
      for (await nextTurn(); !this.#scheduler.idle; await nextTurn()) await this.#step();
      this.decoder.clear();
    } catch (error) {
      for (const job of Array.from(this.#jobs.keys())) this.#settle(job, ({ reject }) => reject(error));
      this.decoder.clear();
    } finally {
      this.#loop = this.#scheduler.idle ? undefined : this.#work();
    }
  }

  async #step(): Promise<void> {
    for (const job of Array.from(this.#settled)) this.#scheduler.remove(job);
    this.#settled.clear();
    const plan = this.#scheduler.plan();
    if (!plan) return;
    const outputs = await this.decoder.step(plan);
    this.#lastRows = outputs.length;
    this.#rows += outputs.length;
    this.#steps++;
    for (const job of this.#scheduler.commit(outputs)) this.#tellProgress(job);
  }

  /** What a caller's own function throws is that caller's alone. */
  #tellProgress(job: Job): void {
    try {
      this.#jobs.get(job)?.onProgress();
      if (job.rows.length === 0) this.#settle(job, ({ resolve }) => resolve());
    } catch (error) {
      this.#settle(job, ({ reject }) => reject(error));
    }
  }

  #settle(job: Job, tell: (waiting: Waiting) => void): void {
    const waiting = this.#jobs.get(job);
    if (!waiting) return;
    this.#jobs.delete(job);
    this.#settled.add(job);
    tell(waiting);
  }
}

function aborted(): EpalmError {
  return new EpalmError("aborted", "the request was taken back");
}
