import { EpalmError } from "../../core/errors.js";

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
export interface Visit {
  /** Notes that so much of its body has come. @throws overloaded if all bodies together are too much */
  take(bytes: number): void;
  /** Its body is whole: takes a place in the queue; may be called twice. @throws overloaded */
  arrived(): void;
  /** Resolves when its work may begin, in the order of calls. @throws aborted when the signal fires first */
  turn(signal: AbortSignal): Promise<void>;
  /** Gives back all that it holds; may be called twice. */
  leave(): void;
}

interface Waiting {
  readonly begin: () => void;
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
  readonly #queue: Waiting[] = [];
  #arriving = 0;
  #bytes = 0;
  #places = 0;
  #running = 0;
  #isClosed = false;
  /** Mean time of a turn. */
  #seconds = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#places - this.#running;
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
  enter(): Visit {
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
      take: (bytes) => {
        if (state === "left") return;
        if (this.#bytes + bytes > this.#limits.bytes) {
          throw new EpalmError("overloaded", `all bodies together are more than ${this.#limits.bytes} bytes`);
        }
        held += bytes;
        this.#bytes += bytes;
      },
      arrived: () => {
        if (state !== "arriving") return;
        this.#expectPlace();
        this.#arriving--;
        this.#places++;
        state = "waiting";
      },
      turn: async (signal) => {
        await this.#turn(signal);
        if (state === "left") this.#finish();
        else state = "running";
        started = performance.now();
      },
      leave: () => {
        if (state === "left") return;
        this.#bytes -= held;
        if (state === "arriving") this.#arriving--;
        else this.#places--;
        if (state === "running") {
          this.#seconds += SMOOTHING * ((performance.now() - started) / 1000 - this.#seconds);
          this.#finish();
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

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(aborted());
        return;
      }
      if (this.#running < this.#limits.running) {
        this.#running++;
        resolve();
        return;
      }
      const onAbort = () => {
        this.#queue.splice(this.#queue.indexOf(waiting), 1);
        reject(aborted());
      };
      const waiting: Waiting = {
        begin: () => {
          signal.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#queue.push(waiting);
    });
  }

  /** The turn goes to who waited longest, if anybody does. */
  #finish(): void {
    const next = this.#queue.shift();
    if (next) next.begin();
    else this.#running--;
  }
}

function aborted(): EpalmError {
  return new EpalmError("aborted", "the request was taken back");
}
