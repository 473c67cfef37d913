import { EpalmError } from "../../core/errors.js";
import { Semaphore } from "../../core/semaphore.js";

export interface AdmissionLimits {
  /** Requests that are worked on at the same time. */
  readonly running: number;
  /** Requests that are whole and wait for that. */
  readonly waiting: number;
  /** Requests whose bodies are still on their way. */
  readonly arriving: number;
  /** Of the bodies of all of them together, in bytes. */
  readonly bytes: number;
}

/** A request from its header to its answer. */
export interface Ticket {
  /** Notes that so much of its body has come. @throws overloaded if all bodies together are too much */
  reserve(bytes: number): void;
  /** Its body is whole: takes a place in the queue; may be called twice. @throws overloaded */
  enqueue(): void;
  /** Resolves when its work may begin, in the order of calls. @throws aborted when the signal fires first */
  turn(signal: AbortSignal): Promise<void>;
  /** Gives back all that it holds; may be called twice. */
  release(): void;
}

/** At most so long is a client told to stay away; seconds. */
const MAX_RETRY_SECONDS = 60;

/** How much the last request counts in the mean of their times. */
const SMOOTHING = 0.1;

/**
 * The bounded queue in front of the models. A request takes a place when it is whole: one that arrives slowly keeps
 * nobody out. Those that arrive are counted by themselves, and the bytes of all, so that memory is bounded.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #running: Semaphore;
  #arriving = 0;
  #bytes = 0;
  #places = 0;
  #isClosed = false;
  /** Mean time of a turn. */
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

  /** Of bodies that are held, those that still arrive included. */
  get bytes(): number {
    return this.#bytes;
  }

  get isFull(): boolean {
    return this.#isClosed || this.#arePlacesTaken || this.#arriving >= this.#limits.arriving;
  }

  /** Whole seconds after which a refused request may find a place, as far as one can tell. */
  get retrySeconds(): number {
    const turns = Math.ceil(this.#places / this.#limits.running);
    return Math.min(MAX_RETRY_SECONDS, Math.max(1, Math.ceil(this.#seconds * turns)));
  }

  /** Takes no request any more. */
  close(): void {
    this.#isClosed = true;
  }

  /** @throws overloaded, at once: a body that would find no place is not waited for */
  enter(): Ticket {
    if (this.#isClosed) throw new EpalmError("overloaded", "the service is ending");
    this.#expectPlace();
    const { arriving } = this.#limits;
    if (this.#arriving >= arriving) {
      throw new EpalmError("overloaded", `${arriving} requests are arriving already`);
    }
    this.#arriving++;
    let state: "arriving" | "waiting" | "running" | "left" = "arriving";
    let held = 0;
    let started = 0;
    return {
      reserve: (bytes) => {
        if (state === "left") return;
        if (this.#bytes + bytes > this.#limits.bytes) {
          throw new EpalmError("overloaded", `all bodies together are more than ${this.#limits.bytes} bytes`);
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
    throw new EpalmError("overloaded", `all places are taken: ${running} that run and ${waiting} that wait`);
  }
}
