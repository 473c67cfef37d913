import { type Flow, flowOf, type RequestOrigin } from "./request-origin.js";

/** A request as far as its place among the running ones is concerned. */
export interface SlotRequest {
  readonly maxSequences: number;
  readonly origin: RequestOrigin;
}

/** A running request; it holds slots for all its sequences, so that it never gets stuck. */
interface Holder<Request> {
  readonly request: Request;
  readonly flow: Flow;
  readonly pool: "shared" | "reserved";
}

/** What to do next: start a waiting request, after pausing running ones. */
export interface Admission<Request> {
  readonly request: Request;
  readonly pool: "shared" | "reserved";
  readonly paused: readonly Request[];
}

/** Slots in addition to the shared ones, as a share of these. */
const RESERVED_SHARE = 1 / 4;

/** Maximum sequences of a request that may use reserved slots, as a share of the shared slots. */
const SMALL_SHARE = 1 / 16;

/**
 * Divides the slots for sequences among clients. Waiting requests are taken from the flow that holds the fewest slots
 * in relation to its weight, and first come, first served within a flow. If its next request does not fit, no other
 * request takes shared slots in the meantime, with two exceptions for flows with less than others:
 *
 * - Small requests of flows that hold nothing use reserved slots.
 * - Requests of a flow that would still hold more than the waiting one are paused, the latest first. A flow always
 *   keeps one running request, so that every flow makes progress.
 */
export class SequenceSlots<Request extends SlotRequest> {
  readonly #shared: number;
  readonly #reserved: number;
  readonly #small: number;
  #holders: Holder<Request>[] = [];

  constructor(shared: number) {
    this.#shared = shared;
    this.#reserved = Math.floor(shared * RESERVED_SHARE);
    this.#small = Math.floor(shared * SMALL_SHARE);
  }

  holds(flow: string): boolean {
    return this.#holders.some((holder) => holder.flow.name === flow);
  }

  /** The next request to start; undefined if none can start now. @param waiting in the order of arrival */
  next(waiting: readonly Request[]): Admission<Request> | undefined {
    const heads = this.#heads(waiting);
    const [head] = heads;
    if (!head) return undefined;
    const { request } = head;
    if (request.maxSequences <= this.#shared - this.#used("shared")) return { request, pool: "shared", paused: [] };
    const newcomer = heads.find((other) => this.#mayUseReserve(other));
    if (newcomer === head) return { request, pool: "reserved", paused: [] };
    const paused = this.#victims(head);
    if (paused) return { request, pool: "shared", paused };
    return newcomer && { request: newcomer.request, pool: "reserved", paused: [] };
  }

  add({ request, pool }: Admission<Request>): void {
    this.#holders.push({ request, flow: flowOf(request.origin), pool });
  }

  remove(request: Request): void {
    this.#holders = this.#holders.filter((holder) => holder.request !== request);
  }

  /** The first waiting request of every flow; the flow with the smallest share of the slots comes first. */
  #heads(waiting: readonly Request[]): { readonly request: Request; readonly flow: Flow }[] {
    const heads = new Map<string, { readonly request: Request; readonly flow: Flow; readonly share: number }>();
    for (const request of waiting) {
      const flow = flowOf(request.origin);
      if (!heads.has(flow.name)) heads.set(flow.name, { request, flow, share: this.#held(flow) / flow.weight });
    }
    return Array.from(heads.values()).sort((a, b) => a.share - b.share);
  }

  #held({ name }: Flow): number {
    return this.#holders.reduce((sum, { flow, request }) => sum + (flow.name === name ? request.maxSequences : 0), 0);
  }

  #used(pool: "shared" | "reserved"): number {
    return this.#holders.reduce((sum, holder) => sum + (holder.pool === pool ? holder.request.maxSequences : 0), 0);
  }

  #mayUseReserve({ request, flow }: { readonly request: Request; readonly flow: Flow }): boolean {
    const fits = request.maxSequences <= Math.min(this.#small, this.#reserved - this.#used("reserved"));
    return fits && !this.holds(flow.name);
  }

  /** Running requests to pause so that the request fits; undefined if that would not be fair. */
  #victims({ request, flow }: { readonly request: Request; readonly flow: Flow }): Request[] | undefined {
    const share = (this.#held(flow) + request.maxSequences) / flow.weight;
    const paused: Request[] = [];
    let room = this.#shared - this.#used("shared");
    // Also sufficient for a flow with several requests: each pause must leave it with at least the new flow's share.
    const left = this.#holders.slice();
    while (room < request.maxSequences) {
      const at = left.findLastIndex((holder) => {
        const own = left.filter((other) => other.flow.name === holder.flow.name);
        const held = own.reduce((sum, other) => sum + other.request.maxSequences, 0);
        const rest = (held - holder.request.maxSequences) / holder.flow.weight;
        return holder.pool === "shared" && own.length > 1 && rest >= share;
      });
      const [victim] = at < 0 ? [] : left.splice(at, 1);
      if (!victim) return undefined;
      paused.push(victim.request);
      room += victim.request.maxSequences;
    }
    return paused;
  }
}
