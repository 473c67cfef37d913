import type { Flow } from "./request-origin.js";

/**
 * Flows that are at most this many tokens ahead of the one whose turn it is are computed in the same step, so that
 * clients with a few sequences each share all steps.
 */
const WINDOW = 32;

/** What a step of a flow would cost. */
export interface FlowCost {
  readonly flow: Flow;
  readonly tokens: number;
}

/**
 * Divides steps among flows by weighted fair queueing with a self-adjusting virtual time, as in SFQ (Goyal et al.,
 * SIGCOMM 1996) and, for language models, VTC (Sheng et al., OSDI 2024). Every flow has a counter of the tokens that
 * were computed for it, divided by its weight. The flow whose counter would be lowest after its step is computed next:
 * one with a large step waits until the others have received as much. Virtual time is the highest counter with which a
 * step began, and flows that were idle start there, so that idleness neither earns credit nor clears a debt.
 */
export class FairQueue {
  readonly #counters = new Map<string, number>();
  #now = 0;

  /** A flow begins to compute after it was idle. */
  activate({ name }: Flow): void {
    this.#counters.set(name, Math.max(this.#counters.get(name) ?? 0, this.#now));
  }

  /** Forgets flows that are idle and have no debt. */
  forget(isIdle: (name: string) => boolean): void {
    for (const [name, counter] of this.#counters) {
      if (counter <= this.#now && isIdle(name)) this.#counters.delete(name);
    }
  }

  /** The flow whose turn it is and those that may join its step. @param costs at least one */
  choose(costs: readonly FlowCost[]): { readonly first: string; readonly chosen: ReadonlySet<string> } {
    const ends = costs.map(({ flow, tokens }) => this.#counterOf(flow.name) + tokens / flow.weight);
    const earliest = Math.min(...ends);
    const first = costs[ends.indexOf(earliest)]?.flow.name ?? "";
    const chosen = costs.filter((_, index) => (ends[index] ?? 0) <= earliest + WINDOW);
    this.#now = Math.max(this.#now, this.#counterOf(first));
    return { first, chosen: new Set(chosen.map(({ flow }) => flow.name)) };
  }

  /** Counts tokens that are computed for a flow. */
  charge({ name, weight }: Flow, tokens: number): void {
    this.#counters.set(name, this.#counterOf(name) + tokens / weight);
  }

  #counterOf(name: string): number {
    return this.#counters.get(name) ?? this.#now;
  }
}
