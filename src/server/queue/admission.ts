import { EpalmError } from "../../core/errors.js";
import { Quota } from "./quota.js";
import { Turns } from "./turns.js";

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
 * bounds the memory. Each limit is divided among clients (see `Quota`), so that none of them can take all of it.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #turns: Turns;
  readonly #arriving: Quota;
  readonly #places: Quota;
  readonly #bytes: Quota;
  #isClosed = false;
  /** Moving average of the processing time. */
  #seconds = 0;

  /** @param bodyBytes maximum size of one body, which a client may always send if there is room for it */
  constructor(limits: AdmissionLimits, bodyBytes = 0) {
    this.#limits = limits;
    this.#turns = new Turns(limits.running);
    this.#arriving = new Quota(limits.arriving);
    this.#places = new Quota(limits.running + limits.waiting);
    this.#bytes = new Quota(limits.bytes, bodyBytes);
  }

  get running(): number {
    return this.#turns.active;
  }

  get waiting(): number {
    return this.#places.total - this.#turns.active;
  }

  get arriving(): number {
    return this.#arriving.total;
  }

  /** Bytes of all bodies in memory, including those that are still arriving. */
  get bytes(): number {
    return this.#bytes.total;
  }

  /** Whether no complete request would find a place. Arriving requests do not matter: most of them may never arrive. */
  get isFull(): boolean {
    return this.#isClosed || this.#places.isFull;
  }

  /** Estimated time until a rejected request may find a place; whole seconds. */
  get retrySeconds(): number {
    const turns = Math.ceil(this.#places.total / this.#limits.running);
    return Math.min(MAX_RETRY_SECONDS, Math.max(1, Math.ceil(this.#seconds * turns)));
  }

  /** Rejects all further requests. */
  close(): void {
    this.#isClosed = true;
  }

  /**
   * Admits a request before its body arrives.
   *
   * @param client see `clientOf`
   * @throws overloaded immediately if there is no place, or none for this client
   */
  enter(client = ""): Ticket {
    if (this.#isClosed) throw new EpalmError("overloaded", "the service is stopping");
    this.#expectPlace(client);
    const { arriving, bytes: most } = this.#limits;
    expectShare(this.#arriving, client, 1, "arriving requests", `${arriving} requests are already arriving`);
    this.#arriving.take(client);
    let state: "arriving" | "waiting" | "running" | "left" = "arriving";
    let held = 0;
    let started = 0;
    return {
      reserve: (bytes) => {
        if (state === "left") return;
        expectShare(this.#bytes, client, bytes, "bytes", `the bodies of all requests exceed ${most} bytes`);
        held += bytes;
        this.#bytes.take(client, bytes);
      },
      enqueue: () => {
        if (state !== "arriving") return;
        this.#expectPlace(client);
        this.#arriving.giveBack(client);
        this.#places.take(client);
        state = "waiting";
      },
      turn: async (signal) => {
        await this.#turns.acquire(client, signal);
        if (state === "left") this.#turns.release(client);
        else state = "running";
        started = performance.now();
      },
      release: () => {
        if (state === "left") return;
        this.#bytes.giveBack(client, held);
        if (state === "arriving") this.#arriving.giveBack(client);
        else this.#places.giveBack(client);
        if (state === "running") {
          this.#seconds += SMOOTHING * ((performance.now() - started) / 1000 - this.#seconds);
          this.#turns.release(client);
        }
        state = "left";
      },
    };
  }

  #expectPlace(client: string): void {
    const { running, waiting } = this.#limits;
    const full = `the queue is full: ${running} running and ${waiting} waiting requests`;
    expectShare(this.#places, client, 1, "places in the queue", full);
  }
}

/** @throws overloaded */
function expectShare(quota: Quota, client: string, amount: number, what: string, full: string): void {
  const refusal = quota.refusal(client, amount);
  if (refusal === undefined) return;
  const share = `this client holds ${quota.held(client)} of ${quota.limit} ${what}; the others are kept for other clients`;
  throw new EpalmError("overloaded", refusal === "full" ? full : share);
}
