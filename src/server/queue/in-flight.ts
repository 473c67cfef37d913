import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { EpalmError } from "../../core/errors.js";
import type { Admission, Visit } from "./admission.js";

declare module "fastify" {
  interface FastifyRequest {
    /** There on routes whose `onRequest` is `enter` of `Workload`. */
    work: Work | undefined;
  }
}

/** The work that one request makes: what it holds, its place in the queue, and when it is to be given up. */
export class Work {
  readonly #visit: Visit;
  readonly #controller = new AbortController();
  #deadline: NodeJS.Timeout | undefined;

  constructor(visit: Visit) {
    this.#visit = visit;
  }

  /** Fires when the client is gone, the time is over, or the service ends; its reason is the error that says so. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  giveUp(reason: EpalmError): void {
    this.#controller.abort(reason);
    this.leave();
  }

  leave(): void {
    clearTimeout(this.#deadline);
    this.#visit.leave();
  }

  /** Notes that so many bytes of the body have come. @throws overloaded if all bodies together are too much */
  take(bytes: number): void {
    this.#visit.take(bytes);
  }

  /** The body is whole: takes a place in the queue. @throws overloaded */
  arrived(): void {
    this.#visit.arrived();
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
    this.#deadline = setTimeout(() => this.giveUp(over), seconds * 1000);
    try {
      const prepared = await prepare();
      const started = performance.now();
      await this.#visit.turn(this.signal);
      // It may have fired since the turn came.
      this.signal.throwIfAborted();
      return await untilAborted(work(prepared, performance.now() - started), this.signal);
    } catch (error) {
      throw this.signal.aborted ? this.signal.reason : error;
    } finally {
      this.leave();
    }
  }
}

/** All work that is in the house. */
export class Workload {
  readonly #admission: Admission;
  readonly #works = new Set<Work>();
  #tellOver: (() => void) | undefined;

  constructor(admission: Admission) {
    this.#admission = admission;
  }

  register(app: FastifyInstance): void {
    app.decorateRequest("work", undefined);
  }

  /** Lets a request in before its body is read. @throws overloaded */
  readonly enter = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const work = new Work(this.#admission.enter());
    this.#works.add(work);
    request.work = work;
    reply.raw.once("close", () => {
      this.#works.delete(work);
      if (this.#works.size === 0) this.#tellOver?.();
      if (reply.raw.writableFinished) work.leave();
      else work.giveUp(new EpalmError("aborted", "the client closed the connection"));
    });
  };

  /** Resolves as soon as there is no work. */
  over(): Promise<void> {
    if (this.#works.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#tellOver = resolve;
    });
  }

  /** Gives up everything. */
  giveUp(): void {
    for (const work of this.#works) work.giveUp(new EpalmError("overloaded", "the service is ending"));
  }
}

/** The request's work. */
export function workOf(request: FastifyRequest): Work {
  if (request.work) return request.work;
  throw new EpalmError("internal", `${request.method} ${request.url}: has no place in the queue`);
}

function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    // Work may give up its own request before it first waits.
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
