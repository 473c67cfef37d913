import { setImmediate as nextTurn } from "node:timers/promises";
import { abortError } from "../core/abort.js";
import type { Decoder } from "./decoder.js";
import type { GenerationRequest } from "./request.js";
import { defaultLimits, Scheduler, type SchedulerLimits } from "./scheduler.js";

/** Called after each step that computes sequences of the request. */
export type Progress = () => void;

/** Counters since the model was loaded, and the current load. */
export interface EngineCounts {
  readonly steps: number;
  /** Sequences summed over all steps; divided by `steps`, this is the mean batch size. */
  readonly sequences: number;
  /** Sequences in the last step; 0 when idle. */
  readonly lastSequences: number;
  /** Requests that are waiting for capacity. */
  readonly waiting: number;
}

/** How the steps of a request went. */
export interface DecodingReport {
  /** Milliseconds from the call until the first token or candidate was computed, with the wait for a place. */
  readonly prefill: number;
  /** Sequences in the step that completed the prompt, those of other requests included. */
  readonly prefillSequences: number;
  /** Whether the beginning of the prompt had been computed by another request. */
  readonly continuesPrefix: boolean;
  /** Mean number of sequences in the later steps of the request; 0 if there were none. */
  readonly sequences: number;
}

interface Waiting {
  readonly onProgress: Progress;
  readonly started: number;
  /** Undefined until the prompt is computed. */
  report: DecodingReport | undefined;
  /** Later steps of the request. */
  steps: number;
  readonly resolve: (report: DecodingReport) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Runs requests on one decoder by repeating plan, compute and commit until all are done. Requests of all callers share
 * the steps.
 */
export class Engine {
  readonly decoder: Decoder;
  readonly #scheduler: Scheduler;
  readonly #requests = new Map<GenerationRequest, Waiting>();
  /** Requests that are done or cancelled; they are removed from the scheduler before its next plan. */
  readonly #settled = new Set<GenerationRequest>();
  #loop: Promise<void> | undefined;
  #steps = 0;
  #sequences = 0;
  #lastSequences = 0;

  constructor(decoder: Decoder, limits: SchedulerLimits = defaultLimits) {
    this.decoder = decoder;
    this.#scheduler = new Scheduler(limits, decoder.prefixes);
  }

  get counts(): EngineCounts {
    const lastSequences = this.#loop ? this.#lastSequences : 0;
    return {
      steps: this.#steps,
      sequences: this.#sequences,
      lastSequences,
      waiting: this.#scheduler.waiting,
    };
  }

  /** Resolves to a report when the request is done, and rejects with `aborted` as soon as the signal fires. */
  run(
    request: GenerationRequest,
    options: { readonly signal?: AbortSignal | undefined; readonly onProgress?: Progress } = {},
  ): Promise<DecodingReport> {
    const { signal, onProgress = () => undefined } = options;
    if (signal?.aborted) return Promise.reject(abortError(signal));
    return new Promise((resolve, reject) => {
      this.#scheduler.add(request);
      const onAbort = () => this.#settle(request, ({ reject }) => reject(abortError(signal)));
      const forget = () => signal?.removeEventListener("abort", onAbort);
      this.#requests.set(request, {
        onProgress,
        started: performance.now(),
        report: undefined,
        steps: 0,
        resolve(report) {
          forget();
          resolve(report);
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
      // Yield between two steps, so that new requests and cancellations are received.
      for (await nextTurn(); !this.#scheduler.idle; await nextTurn()) await this.#step();
      this.decoder.clear();
    } catch (error) {
      for (const request of Array.from(this.#requests.keys())) this.#settle(request, ({ reject }) => reject(error));
      this.decoder.clear();
    } finally {
      this.#loop = this.#scheduler.idle ? undefined : this.#work();
    }
  }

  async #step(): Promise<void> {
    for (const request of Array.from(this.#settled)) this.#scheduler.remove(request);
    this.#settled.clear();
    const plan = this.#scheduler.plan();
    if (!plan) return;
    const outputs = await this.decoder.step(plan);
    this.#lastSequences = outputs.length;
    this.#sequences += outputs.length;
    this.#steps++;
    for (const request of this.#scheduler.commit(outputs)) this.#tellProgress(request);
  }

  /** An error thrown by a request's callback rejects only that request. */
  #tellProgress(request: GenerationRequest): void {
    const waiting = this.#requests.get(request);
    if (!waiting) return;
    try {
      const report = this.#reportAfterStep(request, waiting);
      waiting.onProgress();
      if (request.sequences.length === 0) this.#settle(request, ({ resolve }) => resolve(report));
    } catch (error) {
      this.#settle(request, ({ reject }) => reject(error));
    }
  }

  #reportAfterStep(request: GenerationRequest, waiting: Waiting): DecodingReport {
    const { report, started } = waiting;
    const sequences = this.#lastSequences;
    waiting.report = report
      ? { ...report, sequences: report.sequences + (sequences - report.sequences) / ++waiting.steps }
      : {
          prefill: performance.now() - started,
          prefillSequences: sequences,
          continuesPrefix: this.#scheduler.continuesPrefix(request),
          sequences: 0,
        };
    return waiting.report;
  }

  #settle(request: GenerationRequest, tell: (waiting: Waiting) => void): void {
    const waiting = this.#requests.get(request);
    if (!waiting) return;
    this.#requests.delete(request);
    this.#settled.add(request);
    tell(waiting);
  }
}
