import { EpalmError } from "../core/errors.js";
import { afterStep, type GenerationRequest, type SequenceState } from "./request.js";
import { pendingCount } from "./sequence.js";
import type { StepOutput, StepPlan } from "./step.js";

export interface SchedulerLimits {
  /** Maximum number of running sequences over all requests; further requests wait. */
  readonly maxSequences: number;
  /** Maximum number of tokens (sequences times columns) in a step, unless a single sequence has more. */
  readonly maxBatchedTokens: number;
}

export const defaultLimits: SchedulerLimits = { maxSequences: 64, maxBatchedTokens: 4096 };

/** A running sequence and its output, which is kept until all sequences of the request have been computed. */
interface Entry {
  readonly request: GenerationRequest;
  readonly sequence: SequenceState;
  readonly output?: StepOutput;
}

/**
 * Decides which sequences are computed next. There are no separate phases: each sequence computes its tokens that are
 * not cached yet. Requests join and leave between any two steps. Synchronous, and independent of devices and clocks.
 */
export class Scheduler {
  readonly #limits: SchedulerLimits;
  readonly #waiting: GenerationRequest[] = [];
  #running: GenerationRequest[] = [];
  /** All running sequences, request by request. */
  #entries: Entry[] = [];
  /** Which entries the planned step computes; undefined between a commit and the next plan. */
  #active: readonly boolean[] | undefined;
  #longWasLast = false;

  constructor(limits: SchedulerLimits = defaultLimits) {
    this.#limits = limits;
  }

  /** Number of requests that are waiting for capacity. */
  get waiting(): number {
    return this.#waiting.length;
  }

  get idle(): boolean {
    return this.#waiting.length === 0 && this.#running.length === 0;
  }

  /** Queues a request. @throws invalid_option if it needs more sequences than the limit allows */
  add(request: GenerationRequest): void {
    if (request.maxSequences > this.#limits.maxSequences) {
      throw new EpalmError(
        "invalid_option",
        `request: expected at most ${this.#limits.maxSequences} sequences at once, got ${request.maxSequences}`,
      );
    }
    this.#waiting.push(request);
  }

  /** Removes a request in any state. Must not be called between a plan and its commit. */
  remove(request: GenerationRequest): void {
    const at = this.#waiting.indexOf(request);
    if (at >= 0) this.#waiting.splice(at, 1);
    this.#running = this.#running.filter((other) => other !== request);
    this.#entries = this.#entries.filter((entry) => entry.request !== request);
  }

  /** Plans the next step; undefined if there is nothing to do. Each plan must be committed before the next one. */
  plan(): StepPlan | undefined {
    this.#admit();
    if (this.#entries.length === 0) return undefined;
    const pending = this.#entries.map(({ sequence, output }) =>
      sequence.needs && !output ? pendingCount(sequence) : 0,
    );
    const choice = chooseSequences(pending, this.#longWasLast, this.#limits.maxBatchedTokens);
    this.#longWasLast = choice.long;
    this.#active = choice.active;
    const first = choice.active.indexOf(true);
    const end = choice.active.lastIndexOf(true) + 1;
    return {
      sources: this.#entries.map(({ sequence }) => sequence.cacheIndex),
      cachedLengths: this.#entries.map(({ sequence }) => sequence.cached),
      first,
      scheduled: this.#entries.slice(first, end).map(({ sequence }, index) => ({
        sequence,
        active: choice.active[first + index] ?? false,
        needs: sequence.needs ?? { kind: "next", count: 1 },
      })),
    };
  }

  /** Takes the outputs of the planned step, one per active sequence, in order. Returns the requests that advanced. */
  commit(outputs: readonly StepOutput[]): readonly GenerationRequest[] {
    const active = this.#active ?? [];
    this.#active = undefined;
    let next = 0;
    this.#entries = this.#entries.map((entry, index): Entry => {
      const output = active[index] ? outputs[next++] : undefined;
      if (!output) return { ...entry, sequence: { ...entry.sequence, cacheIndex: index } };
      return { ...entry, sequence: afterStep(entry.sequence, index), output };
    });
    const ready = this.#running.filter((request) =>
      this.#entries.every((entry) => entry.request !== request || entry.output || !entry.sequence.needs),
    );
    for (const request of ready) this.#advance(request);
    return ready;
  }

  #advance(request: GenerationRequest): void {
    const own = this.#entries.filter((entry) => entry.request === request);
    const outputs = own.flatMap(({ output }) => output ?? []);
    request.advance(
      own.map(({ sequence }) => sequence),
      outputs,
    );
    const sequences = request.sequences.map((sequence): Entry => ({ request, sequence }));
    const at = this.#entries.findIndex((entry) => entry.request === request);
    this.#entries = this.#entries.toSpliced(at, own.length, ...sequences);
    if (sequences.length === 0) this.#running = this.#running.filter((other) => other !== request);
  }

  /** First come, first served. A request reserves its maximum number of sequences, so that it never gets stuck. */
  #admit(): void {
    let room = this.#limits.maxSequences - this.#running.reduce((sum, request) => sum + request.maxSequences, 0);
    for (let request = this.#waiting[0]; request && request.maxSequences <= room; request = this.#waiting[0]) {
      const admitted = request;
      room -= admitted.maxSequences;
      this.#running.push(admitted);
      this.#entries.push(...admitted.sequences.map((sequence): Entry => ({ request: admitted, sequence })));
      this.#waiting.shift();
    }
  }
}

/**
 * Chooses the sequences of a step from the number of pending elements of each sequence. All sequences with one pending
 * element (the next token) are computed together. Sequences with more (prompts, given answers) are also batched, up to
 * `maxBatchedTokens`, but in separate steps, so that next tokens are not padded to the length of a prompt. If there are
 * sequences of both kinds, the kinds alternate: a long prompt delays other sequences by one step only, and a stream of
 * prompts cannot starve sequences that wait for their next token.
 */
export function chooseSequences(
  pending: readonly number[],
  longWasLast: boolean,
  maxBatchedTokens: number,
): { readonly active: readonly boolean[]; readonly long: boolean } {
  const anyLong = pending.some((count) => count > 1);
  const long = anyLong && !(longWasLast && pending.includes(1));
  if (!long) return { active: pending.map((count) => count === 1), long };
  const first = pending.findIndex((count) => count > 1);
  let [end, width] = [first, 0];
  for (; end < pending.length && (pending[end] ?? 0) > 1; end++) {
    width = Math.max(width, pending[end] ?? 0);
    if (end > first && width * (end - first + 1) > maxBatchedTokens) break;
  }
  return { active: pending.map((_, index) => index >= first && index < end), long };
}
