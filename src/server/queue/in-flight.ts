import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { throwIfAborted, untilAborted } from "../../core/abort.js";
import { EpalmError } from "../../core/errors.js";
import { traced } from "../../core/trace.js";
import type { Admission, Ticket } from "./admission.js";
import { clientOf } from "./client-of.js";

declare module "fastify" {
  interface FastifyRequest {
    /** Set on routes whose `onRequest` hook is `InFlightRequests.enter`. */
    inFlight: InFlightRequest | undefined;
  }
}

/** How fast bodies must arrive. */
export interface ArrivalRate {
  /** Mean rate from the end of the grace time on; 0 permits any. */
  readonly arrivalBytesPerSecond: number;
  readonly arrivalGraceSeconds: number;
}

/** Interval at which the rate of a body is checked; milliseconds. */
const RATE_CHECK = 1000;

/** A request that was admitted and is not yet answered: its ticket, its deadline and its abort signal. */
export class InFlightRequest {
  /** See `clientOf`. */
  readonly client: string;
  readonly #ticket: Ticket;
  readonly #controller = new AbortController();
  #deadline: NodeJS.Timeout | undefined;
  #rateCheck: NodeJS.Timeout | undefined;
  #arrivedBytes = 0;

  constructor(ticket: Ticket, client = "") {
    this.#ticket = ticket;
    this.client = client;
  }

  /** Cancels the request with `slow_request` if its body arrives too slowly. @param onSlow called before that */
  watchArrival({ arrivalBytesPerSecond: rate, arrivalGraceSeconds: grace }: ArrivalRate, onSlow: () => void): void {
    const begun = performance.now();
    this.#rateCheck = setInterval(() => {
      const seconds = (performance.now() - begun) / 1000;
      if (this.#arrivedBytes >= rate * (seconds - grace)) return;
      onSlow();
      const message = `after ${grace} s, the body must arrive at ${rate} bytes per second or more`;
      this.cancel(new EpalmError("slow_request", message));
    }, RATE_CHECK).unref();
  }

  /** Fires if the client disconnects, the deadline passes or the service stops. Its reason is the respective error. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  cancel(reason: EpalmError): void {
    this.#controller.abort(reason);
    this.release();
  }

  release(): void {
    clearTimeout(this.#deadline);
    clearInterval(this.#rateCheck);
    this.#ticket.release();
  }

  /** Counts bytes of the body that have arrived. @throws overloaded if all bodies together exceed the limit */
  reserve(bytes: number): void {
    this.#arrivedBytes += bytes;
    this.#ticket.reserve(bytes);
  }

  /** Takes a place in the queue when the body is complete. @throws overloaded */
  enqueue(): void {
    clearInterval(this.#rateCheck);
    this.#ticket.enqueue();
  }

  /**
   * Runs `prepare`, waits for its turn, and runs `work`. When the signal fires, the call rejects immediately, even if
   * the work continues.
   *
   * @param seconds the deadline, counted from this call
   * @param work gets the result of `prepare` and the time in the queue in milliseconds
   * @throws deadline_exceeded, aborted, overloaded, and the errors of `prepare` and `work`
   */
  async run<Prepared, T>(
    seconds: number,
    prepare: () => Promise<Prepared>,
    work: (prepared: Prepared, queued: number) => Promise<T>,
  ): Promise<T> {
    const over = new EpalmError("deadline_exceeded", `the answer was not ready within ${seconds} s`);
    this.#deadline = setTimeout(() => this.cancel(over), seconds * 1000);
    try {
      const prepared = await prepare();
      const started = performance.now();
      await traced("queue", {}, () => this.#ticket.turn(this.signal));
      // The signal may have fired after the ticket got its turn.
      throwIfAborted(this.signal);
      return await untilAborted(work(prepared, performance.now() - started), this.signal);
    } catch (error) {
      throw this.signal.aborted ? this.signal.reason : error;
    } finally {
      this.release();
    }
  }
}

/** All requests in flight. */
export class InFlightRequests {
  readonly #admission: Admission;
  readonly #rate: ArrivalRate;
  readonly #requests = new Set<InFlightRequest>();
  #onDrained: (() => void) | undefined;

  constructor(admission: Admission, rate: ArrivalRate) {
    this.#admission = admission;
    this.#rate = rate;
  }

  register(app: FastifyInstance): void {
    app.decorateRequest("inFlight", undefined);
  }

  /** Hook that admits a request before its body is read. @throws overloaded */
  readonly enter = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const client = clientOf(request);
    const inFlight = new InFlightRequest(this.#admission.enter(client), client);
    this.#requests.add(inFlight);
    // The rest of the body would otherwise be awaited on the same connection.
    inFlight.watchArrival(this.#rate, () => reply.header("connection", "close"));
    request.inFlight = inFlight;
    reply.raw.once("close", () => {
      this.#requests.delete(inFlight);
      if (this.#requests.size === 0) this.#onDrained?.();
      if (reply.raw.writableFinished) inFlight.release();
      else inFlight.cancel(new EpalmError("aborted", "the client closed the connection"));
    });
  };

  /** Resolves as soon as no request is in flight. */
  drained(): Promise<void> {
    if (this.#requests.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onDrained = resolve;
    });
  }

  /** Cancels all of them. */
  cancelAll(): void {
    for (const request of this.#requests) request.cancel(new EpalmError("overloaded", "the service is stopping"));
  }
}

/** The state of a request in flight. @throws internal on a route without the `enter` hook */
export function inFlightOf(request: FastifyRequest): InFlightRequest {
  if (request.inFlight) return request.inFlight;
  throw new EpalmError("internal", `${request.method} ${request.url}: the route does not admit requests to the queue`);
}
