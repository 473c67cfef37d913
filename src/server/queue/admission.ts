import { EpalmError } from "../../core/errors.js";
import { Semaphore } from "../../core/semaphore.js";

export interface AdmissionLimits {
  /** Requests that are processed at the same time. */
  readonly running: number;
  /** Complete requests that are waiting. */
  readonly waiting: number;
  /** Requests whose bodies are still arriving. */
  readonly arriving: number;
  /** Total bytes of the bodies of all these requests. */
  readonly bytes: number;
}

/** A request's place in the service, from its headers to its response. */
export interface Ticket {
  /** Counts bytes of the body that have arrived. @throws overloaded if all bodies together exceed the limit */
  reserve(bytes: number): void;
  /** Takes a place in the queue when the body is complete. Further calls have no effect. @throws overloaded */
  enqueue(): void;
  /** Resolves when the request may be processed, in the order of calls. @throws aborted if the signal fires first */
  turn(signal: AbortSignal): Promise<void>;
  /** Releases everything that the ticket holds. Further calls have no effect. */
  release(): void;
}

/** Maximum value of `Retry-After`; seconds. */
const MAX_RETRY_SECONDS = 60;

/** Weight of the latest request in the moving average of the processing times. */
const SMOOTHING = 0.1;

/**
 * The bounded queue in front of the models. A request takes a place when its body is complete, so that slow uploads do
 * not block other requests. The number of arriving requests and the bytes of all bodies have limits of their own, which
 * bounds the memory.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #running: Semaphore;
  #arriving = 0;
  #bytes = 0;
  #places = 0;
  #isClosed = false;
  /** Moving average of the processing time. */
  #seconds = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
    this.#running = new Semaphore(limits.running);
  }

  get running(): number {
    return this.#running.active;
  }

  get waiting(): number {
    return this.#places - this.#running.active;
  }

  get arriving(): number {
    return this.#arriving;
  }

  /** Bytes of all bodies in memory, including those that are still arriving. */
  get bytes(): number {
    return this.#bytes;
  }

  get isFull(): boolean {
    return this.#isClosed || this.#arePlacesTaken || this.#arriving >= this.#limits.arriving;
  }

  /** Estimated time until a rejected request may find a place; whole seconds. */
  get retrySeconds(): number {
    const turns = Math.ceil(this.#places / this.#limits.running);
    return Math.min(MAX_RETRY_SECONDS, Math.max(1, Math.ceil(this.#seconds * turns)));
  }

  /** Rejects all further requests. */
  close(): void {
    this.#isClosed = true;
  }

  /** Admits a request before its body arrives. @throws overloaded immediately if there is no place */
  enter(): Ticket {
    if (this.#isClosed) throw new EpalmError("overloaded", "the service is stopping");
    this.#expectPlace();
    const { arriving } = this.#limits;
    if (this.#arriving >= arriving) {
      throw new EpalmError("overloaded", `${arriving} requests are already arriving`);
    }
    this.#arriving++;
    let state: "arriving" | "waiting" | "running" | "left" = "arriving";
    let held = 0;
    let started = 0;
    return {
      reserve: (bytes) => {
        if (state === "left") return;
        if (this.#bytes + bytes > this.#limits.bytes) {
          throw new EpalmError("overloaded", `the bodies of all requests exceed ${this.#limits.bytes} bytes`);
        }
        held += bytes;
        this.#bytes += bytes;
      },
      enqueue: () => {
        if (state !== "arriving") return;
        this.#expectPlace();
        this.#arriving--;
        this.#places++;
        state = "waiting";
      },
      turn: async (signal) => {
        await this.#running.acquire(signal);
        if (state === "left") this.#running.release();
        else state = "running";
        started = performance.now();
      },
      release: () => {
        if (state === "left") return;
        this.#bytes -= held;
        if (state === "arriving") this.#arriving--;
        else this.#places--;
        if (state === "running") {
          this.#seconds += SMOOTHING * ((performance.now() - started) / 1000 - this.#seconds);
          this.#running.release();
        }
        state = "left";
      },
    };
  }

  get #arePlacesTaken(): boolean {
    return this.#places >= this.#limits.running + this.#limits.waiting;
  }

  #expectPlace(): void {
    if (!this.#arePlacesTaken) return;
    const { running, waiting } = this.#limits;
    throw new EpalmError("overloaded", `the queue is full: ${running} running and ${waiting} waiting requests`);
  }
}
