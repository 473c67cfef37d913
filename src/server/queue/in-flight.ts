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

/** A request that is being handled: what it holds, its place in the queue, and when it is cancelled. */
export class InFlightRequest {
  readonly #ticket: Ticket;
  readonly #controller = new AbortController();
  #deadline: NodeJS.Timeout | undefined;

  constructor(ticket: Ticket) {
    this.#ticket = ticket;
  }

  /** Fires when the client is gone, the time is over, or the service ends; its reason is the error that says so. */
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

  /** Notes that so many bytes of the body have come. @throws overloaded if all bodies together are too much */
  reserve(bytes: number): void {
    this.#ticket.reserve(bytes);
  }

  /** The body is whole: takes a place in the queue. @throws overloaded */
  enqueue(): void {
    this.#ticket.enqueue();
  }

  /**
   * Prepares, waits for its turn, and does the work; `queued` are the milliseconds of waiting. Whatever the work does,
   * it is over for the caller when the signal fires.
   *
   * @throws deadline_exceeded, aborted, overloaded, and what the two throw
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
      // It may have fired since the turn came.
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

  /** Lets a request in before its body is read. @throws overloaded */
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
    for (const request of this.#requests) request.cancel(new EpalmError("overloaded", "the service is ending"));
  }
}

/** The state of a request in flight. @throws internal on a route that has no `enter` hook */
export function inFlightOf(request: FastifyRequest): InFlightRequest {
  if (request.inFlight) return request.inFlight;
  throw new EpalmError("internal", `${request.method} ${request.url}: has no place in the queue`);
}
