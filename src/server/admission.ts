import { EpalmError } from "../errors.js";

export interface AdmissionLimits {
  /** Requests that are worked on at the same time. */
  readonly running: number;
  /** Requests in the house that are not worked on: they wait, or still arrive. */
  readonly waiting: number;
}

/** A request's place. */
export interface Place {
  /** Resolves when its work may begin, in the order of calls. @throws aborted when the signal fires first */
  turn(signal: AbortSignal): Promise<void>;
  /** Gives the place back; may be called twice. */
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
 * The bounded queue in front of the models: a request has a place from its header on, so that bodies do not pile up
 * either, and works only in its turn.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #queue: Waiting[] = [];
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

  /** Those that still arrive included. */
  get waiting(): number {
    return this.#places - this.#running;
  }

  get isFull(): boolean {
    return this.#isClosed || this.#places >= this.#limits.running + this.#limits.waiting;
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

  /** @throws overloaded, at once */
  enter(): Place {
    if (this.#isClosed) throw new EpalmError("overloaded", "the service is ending");
    if (this.isFull) {
      const { running, waiting } = this.#limits;
      throw new EpalmError(
        "overloaded",
        `all places are taken: ${running} that run and ${waiting} that wait`,
      );
    }
    this.#places++;
    let state: "arriving" | "running" | "left" = "arriving";
    let started = 0;
    return {
      turn: async (signal) => {
        await this.#turn(signal);
        if (state === "left") this.#finish();
        else state = "running";
        started = performance.now();
      },
      leave: () => {
        if (state === "left") return;
        this.#places--;
        if (state === "running") {
          this.#seconds += SMOOTHING * ((performance.now() - started) / 1000 - this.#seconds);
          this.#finish();
        }
        state = "left";
      },
    };
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
