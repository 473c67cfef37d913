import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { throwIfAborted, untilAborted } from "../../core/abort.js";
import { EpalmError } from "../../core/errors.js";
import type { Admission, Ticket } from "./admission.js";

declare module "fastify" {
  interface FastifyRequest {
    /** Set on routes whose `onRequest` hook is `InFlightRequests.enter`. */
    inFlight: InFlightRequest | undefined;
  }
}

/** A request that was admitted and is not yet answered: its ticket, its deadline and its abort signal. */
export class InFlightRequest {
  readonly #ticket: Ticket;
  readonly #controller = new AbortController();
  #deadline: NodeJS.Timeout | undefined;

  constructor(ticket: Ticket) {
    this.#ticket = ticket;
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
    this.#ticket.release();
  }

  /** Counts bytes of the body that have arrived. @throws overloaded if all bodies together exceed the limit */
  reserve(bytes: number): void {
    this.#ticket.reserve(bytes);
  }

  /** Takes a place in the queue when the body is complete. @throws overloaded */
  enqueue(): void {
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
      await this.#ticket.turn(this.signal);
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
  readonly #requests = new Set<InFlightRequest>();
  #onDrained: (() => void) | undefined;

  constructor(admission: Admission) {
    this.#admission = admission;
  }

  register(app: FastifyInstance): void {
    app.decorateRequest("inFlight", undefined);
  }

  /** Hook that admits a request before its body is read. @throws overloaded */
  readonly enter = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const inFlight = new InFlightRequest(this.#admission.enter());
    this.#requests.add(inFlight);
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
