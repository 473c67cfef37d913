import "./no-telemetry.js";
import { AsyncResource } from "node:async_hooks";
import { Worker } from "node:worker_threads";
import { abortError } from "../core/abort.js";
import { EpalmError, type ErrorCode, messageOf } from "../core/errors.js";

/** Messages to a worker thread. `id` identifies the call. */
export type ToThread =
  | { readonly kind: "call"; readonly id: number; readonly method: string; readonly payload: unknown }
  | { readonly kind: "abort"; readonly id: number }
  /** Cancels all calls; the thread ends when the running work is done. */
  | { readonly kind: "close" };

/** Messages from a worker thread. */
export type FromThread =
  | { readonly kind: "event"; readonly id: number; readonly event: unknown }
  | { readonly kind: "result"; readonly id: number; readonly result: unknown }
  | { readonly kind: "error"; readonly id: number; readonly code: ErrorCode; readonly message: string };

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Receives each event that the method emits before its result, in the asynchronous context of the call. */
  readonly onEvent?: ((event: unknown) => void) | undefined;
  /** Buffers that are transferred instead of copied. */
  readonly transfer?: readonly ArrayBuffer[] | undefined;
}

/** Time limit for closing a thread. No single step takes nearly as long, so only a thread that hangs reaches it. */
const CLOSE_MILLISECONDS = 60_000;

interface Call {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly onEvent: ((event: unknown) => void) | undefined;
}

/** One worker of a `Thread`, from its start to its end, with the calls that it is working on. */
export class ThreadWorker {
  readonly #worker: Worker;
  readonly #calls = new Map<number, Call>();
  /** Resolves with the reason as soon as the worker has ended, on purpose or not. */
  readonly ended: Promise<string>;
  #nextId = 0;
  #failure: EpalmError | undefined;
  #reason: string | undefined;
  #hasEnded = false;

  /**
   * @param entry module that calls `serveThread`
   * @param failure the error of the calls that are pending when the worker ends unexpectedly
   */
  constructor(entry: URL, failure: (reason: string) => EpalmError) {
    // The thread does not inherit Node's own options: one of them, --input-type, does not allow files.
    this.#worker = new Worker(entry, { execArgv: [] });
    this.#worker.on("message", (message: FromThread) => this.#receive(message));
    this.#worker.on("error", (error) => {
      this.#reason ??= messageOf(error);
    });
    this.ended = new Promise((resolve) => {
      this.#worker.on("exit", (code) => {
        const reason = this.#reason ?? `ended with code ${code}`;
        this.#hasEnded = true;
        // First, so that a call that is repeated after its rejection already finds the worker replaced.
        resolve(reason);
        this.#fail(failure(reason));
      });
    });
    // An idle thread must not keep a finished program alive.
    this.#worker.unref();
  }

  /** The id that `worker_threads` gives to the worker; -1 after it has ended. */
  get threadId(): number {
    return this.#worker.threadId;
  }

  call(method: string, payload: unknown, options: CallOptions = {}): Promise<unknown> {
    const { signal, onEvent, transfer = [] } = options;
    if (this.#failure) return Promise.reject(this.#failure);
    if (signal?.aborted) return Promise.reject(abortError(signal));
    const id = this.#nextId++;
    const abort = () => this.#post({ kind: "abort", id });
    return new Promise<unknown>((resolve, reject) => {
      this.#calls.set(id, { resolve, reject, onEvent: onEvent && AsyncResource.bind(onEvent) });
      this.#worker.ref();
      signal?.addEventListener("abort", abort, { once: true });
      this.#post({ kind: "call", id, method, payload }, transfer);
    }).finally(() => {
      signal?.removeEventListener("abort", abort);
      this.#calls.delete(id);
      if (this.#calls.size === 0 && !this.#failure) this.#worker.unref();
    });
  }

  /** Rejects all calls with the error, and ends the thread after the running work is done. */
  async close(error: EpalmError): Promise<void> {
    if (this.#hasEnded) return;
    this.#fail(error);
    this.#worker.ref();
    this.#post({ kind: "close" });
    const patience = setTimeout(() => void this.#worker.terminate(), CLOSE_MILLISECONDS);
    await this.ended;
    clearTimeout(patience);
  }

  /** Rejects all calls with the error, and ends the thread immediately. */
  async terminate(error: EpalmError): Promise<void> {
    this.#fail(error);
    await this.#worker.terminate();
  }

  #post(message: ToThread, transfer: readonly ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #receive(message: FromThread): void {
    const call = this.#calls.get(message.id);
    if (!call) return;
    if (message.kind === "event") call.onEvent?.(message.event);
    else if (message.kind === "result") call.resolve(message.result);
    else call.reject(new EpalmError(message.code, message.message));
  }

  #fail(error: EpalmError): void {
    this.#failure ??= error;
    for (const { reject } of this.#calls.values()) reject(this.#failure);
    this.#calls.clear();
  }
}
