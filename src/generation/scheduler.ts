import { EpalmError } from "../core/errors.js";
import { FairQueue, type FlowCost } from "./fair-queue.js";
import type { KnownPrefixes } from "./prefix-cache.js";
import { afterStep, type GenerationRequest, type SequenceState } from "./request.js";
import { type Flow, flowOf } from "./request-origin.js";
import { pendingCount, sharedElements, visualEnd } from "./sequence.js";
import { type Admission, SequenceSlots } from "./sequence-slots.js";
import type { StepOutput, StepPlan } from "./step.js";

export interface SchedulerLimits {
  /**
   * Maximum number of running sequences over all requests; further requests wait. When it is reached, a quarter more
   * may run for clients that have none (see `SequenceSlots`).
   */
  readonly maxSequences: number;
  /** Maximum number of tokens (sequences times columns) in a step, unless a single sequence has more. */
  readonly maxBatchedTokens: number;
  /**
   * A step computes at most this many tokens of a prompt. Long prompts take less time in parts, because the attention
   * in each part ends at its own last token. While other sequences wait for their next token, the limit holds for all
   * prompts together, so that a long one, such as one with visual tokens, delays them by a part only. Default: 256.
   */
  readonly promptChunk?: number | undefined;
}

export const defaultLimits: SchedulerLimits = { maxSequences: 64, maxBatchedTokens: 4096 };

/**
 * If several clients have sequences to compute, a step takes at most this share of `maxSequences` and of
 * `maxBatchedTokens` from each, so that no client waits long for the step of another one.
 */
const SEQUENCES_PER_TURN = 1 / 4;
const TOKENS_PER_TURN = 1 / 32;

const PROMPT_CHUNK = 256;

/** A running sequence and its output, which is kept until all sequences of the request have been computed. */
interface Entry {
  readonly request: GenerationRequest;
  readonly flow: Flow;
  readonly sequence: SequenceState;
  readonly output?: StepOutput | undefined;
}

/**
 * Decides which sequences are computed next. There are no separate phases: each sequence computes its tokens that are
 * not cached yet. Requests join and leave between any two steps. Slots and steps are divided among clients; the
 * requests of a single client are computed together, in the order in which they arrive. Synchronous, and
 * independent of devices and clocks.
 */
export class Scheduler {
  readonly #limits: SchedulerLimits;
  readonly #prefixes: KnownPrefixes;
  readonly #slots: SequenceSlots<GenerationRequest>;
  #steps = new FairQueue();
  #waiting: GenerationRequest[] = [];
  /** Sequences of requests that were paused; they lose their place in the cache. */
  readonly #paused = new Map<GenerationRequest, readonly Entry[]>();
  #running: GenerationRequest[] = [];
  /** All running sequences, request by request; those of a client are next to each other. */
  #entries: Entry[] = [];
  /** How many elements of each entry the planned step computes; undefined between a commit and the next plan. */
  #counts: readonly number[] | undefined;
  /** Keys of kept prefixes with which entries of the planned step begin. */
  #restored = new Map<Entry, string>();
  /** Requests whose prompts continued from another one. */
  readonly #continuing = new WeakSet<GenerationRequest>();
  #longWasLast = false;
  /** Whether requests came or left since the last admission. */
  #mayAdmit = false;

  /** @param prefixes beginnings of prompts that the decoder keeps. Default: none */
  constructor(limits: SchedulerLimits = defaultLimits, prefixes: KnownPrefixes = { count: () => undefined }) {
    this.#limits = limits;
    this.#prefixes = prefixes;
    this.#slots = new SequenceSlots(limits.maxSequences);
  }

  /** Number of requests that are waiting for capacity. */
  get waiting(): number {
    return this.#waiting.length;
  }

  get idle(): boolean {
    return this.#waiting.length === 0 && this.#running.length === 0;
  }

  /** Whether the beginning of a request's prompt was not computed, because another request had computed it. */
  continuesPrefix(request: GenerationRequest): boolean {
    return this.#continuing.has(request);
  }

  /** Queues a request. @throws invalid_option if it needs more sequences than the limit allows */
  add(request: GenerationRequest): void {
    if (request.maxSequences > this.#limits.maxSequences) {
      throw new EpalmError(
        "invalid_option",
        `request: expected at most ${this.#limits.maxSequences} sequences at once, got ${request.maxSequences}`,
      );
    }
    if (this.idle) this.#steps = new FairQueue();
    this.#waiting.push(request);
    this.#mayAdmit = true;
  }

  /** Removes a request in any state. Must not be called between a plan and its commit. */
  remove(request: GenerationRequest): void {
    const at = this.#waiting.indexOf(request);
    if (at >= 0) this.#waiting.splice(at, 1);
    this.#paused.delete(request);
    this.#stop(request);
  }

  /** Plans the next step; undefined if there is nothing to do. Each plan must be committed before the next one. */
  plan(): StepPlan | undefined {
    if (this.#mayAdmit) this.#admit();
    if (this.#entries.length === 0) return undefined;
    const counts = this.#chooseCounts();
    this.#counts = counts;
    const first = counts.findIndex((count) => count > 0);
    const end = counts.findLastIndex((count) => count > 0) + 1;
    return {
      sources: this.#entries.map(({ sequence }) => sequence.cacheIndex),
      cachedLengths: this.#entries.map(({ sequence }) => sequence.cached),
      first,
      scheduled: this.#entries.slice(first, end).map(({ sequence }, index) => {
        const count = counts[first + index] ?? 0;
        // The logits of an incomplete prompt are not used.
        const needs = count === pendingCount(sequence) ? sequence.needs : undefined;
        return { sequence, active: count > 0, needs: needs ?? { kind: "next", count: 1 }, count };
      }),
      restored: Array.from(this.#restored, ([entry, key]) => ({ index: this.#entries.indexOf(entry), key })),
      kept: this.#entries.flatMap((entry, index) => this.#prefixToKeep(entry, index, counts[index] ?? 0)),
    };
  }

  /** The beginning of a prompt whose last visual token the step computes. */
  #prefixToKeep({ sequence, flow }: Entry, index: number, count: number) {
    const [key, end] = [prefixKey(sequence, flow), visualEnd(sequence.context)];
    const isComputed = sequence.cached < end && sequence.cached + count >= end;
    return key !== undefined && isComputed && this.#prefixes.count(key) === undefined
      ? [{ index, key, count: end }]
      : [];
  }

  /** Takes the outputs of the planned step, one per active sequence, in order. Returns the requests that advanced. */
  commit(outputs: readonly StepOutput[]): readonly GenerationRequest[] {
    const counts = this.#counts ?? [];
    this.#counts = undefined;
    let next = 0;
    this.#entries = this.#entries.map((entry, index): Entry => {
      const count = counts[index] ?? 0;
      const output = count > 0 ? outputs[next++] : undefined;
      if (!output) return { ...entry, sequence: { ...entry.sequence, cacheIndex: index } };
      const isComplete = count === pendingCount(entry.sequence);
      const sequence = afterStep(entry.sequence, index, count);
      return isComplete ? { ...entry, sequence, output } : { ...entry, sequence };
    });
    const unfinished = new Set<GenerationRequest>();
    for (const { request, output, sequence } of this.#entries) {
      if (!output && sequence.needs) unfinished.add(request);
    }
    const ready = this.#running.filter((request) => !unfinished.has(request));
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
    const flow = flowOf(request.origin);
    const sequences = request.sequences.map((sequence): Entry => ({ request, flow, sequence }));
    const at = this.#entries.findIndex((entry) => entry.request === request);
    this.#entries = this.#entries.toSpliced(at, own.length, ...sequences);
    if (sequences.length === 0) this.#stop(request);
  }

  #stop(request: GenerationRequest): void {
    this.#slots.remove(request);
    this.#running = this.#running.filter((other) => other !== request);
    this.#entries = this.#entries.filter((entry) => entry.request !== request);
    this.#mayAdmit = true;
  }

  /** Starts waiting requests, see `SequenceSlots`. */
  #admit(): void {
    for (let next = this.#slots.next(this.#waiting); next; next = this.#slots.next(this.#waiting)) this.#start(next);
    this.#steps.forget((flow) => !this.#slots.holds(flow));
    this.#mayAdmit = false;
  }

  #start(admission: Admission<GenerationRequest>): void {
    for (const request of admission.paused) this.#pause(request);
    const { request } = admission;
    const flow = flowOf(request.origin);
    if (!this.#slots.holds(flow.name)) this.#steps.activate(flow);
    this.#slots.add(admission);
    this.#waiting.splice(this.#waiting.indexOf(request), 1);
    this.#running.push(request);
    const entries = this.#paused.get(request) ?? request.sequences.map((sequence) => ({ request, flow, sequence }));
    this.#paused.delete(request);
    const after = this.#entries.findLastIndex((entry) => entry.flow.name === flow.name);
    this.#entries.splice(after < 0 ? this.#entries.length : after + 1, 0, ...entries);
  }

  /** Returns a request to the front of the queue. Its sequences will be computed again like prompts. */
  #pause(request: GenerationRequest): void {
    const own = this.#entries.filter((entry) => entry.request === request);
    this.#stop(request);
    this.#paused.set(
      request,
      own.map((entry) => ({ ...entry, sequence: { ...entry.sequence, cached: 0, cacheIndex: undefined } })),
    );
    this.#waiting.unshift(request);
  }

  /**
   * Prompts of a client with the same visual tokens continue from the first one that has computed them.
   *
   * @returns the entries that wait for another one to compute these tokens
   */
  #sharePrefixes(): ReadonlySet<Entry> {
    const waiting = new Set<Entry>();
    const earlier: Entry[] = [];
    this.#restored = new Map();
    for (const [index, entry] of this.#entries.entries()) {
      const { sequence, flow } = entry;
      if (sequence.cached > 0 || !sequence.needs || sequence.context.visual?.key === undefined) continue;
      const own = this.#entries.filter((other) => other !== entry && other.flow.name === flow.name);
      const donor = bestDonor(own, sequence);
      if (donor) {
        // The last element is computed again, because its logits are needed.
        const cached = Math.min(sharedElements(donor, sequence), donor.cached, pendingCount(sequence) - 1);
        this.#entries[index] = { ...entry, sequence: { ...sequence, cached, cacheIndex: donor.cacheIndex } };
        this.#continuing.add(entry.request);
        continue;
      }
      const key = prefixKey(sequence, flow);
      const kept = key === undefined ? undefined : this.#prefixes.count(key);
      if (key !== undefined && kept !== undefined && kept < pendingCount(sequence)) {
        // The row of an entry that has waited is empty: another one must not continue from it.
        const restored = { ...entry, sequence: { ...sequence, cached: kept, cacheIndex: undefined } };
        this.#entries[index] = restored;
        this.#restored.set(restored, key);
        this.#continuing.add(entry.request);
        continue;
      }
      const computing = own.filter((other) => earlier.includes(other) || (other.sequence.cached > 0 && !other.output));
      if (computing.some((other) => sharedElements(other.sequence, sequence) > 0)) waiting.add(entry);
      else earlier.push(entry);
    }
    return waiting;
  }

  /** How many elements of each sequence the next step computes; counts them for their clients. */
  #chooseCounts(): readonly number[] {
    const { maxSequences, maxBatchedTokens, promptChunk = PROMPT_CHUNK } = this.#limits;
    const waiting = this.#sharePrefixes();
    const all = this.#entries.map((entry) => {
      const { sequence, output } = entry;
      return sequence.needs && !output && !waiting.has(entry) ? pendingCount(sequence) : 0;
    });
    const pending = all.map((count, at) => this.#chunkOf(at, count, promptChunk));
    const flows = this.#entries.map(({ flow }) => flow);
    const turn = {
      sequences: Math.max(1, Math.floor(maxSequences * SEQUENCES_PER_TURN)),
      tokens: Math.max(1, Math.floor(maxBatchedTokens * TOKENS_PER_TURN)),
    };
    const costs = flowCosts(flows, pending, turn);
    const { first, chosen } = this.#steps.choose(costs);
    const isShared = costs.length > 1;
    const permitted = isShared ? permittedSequences(flows, pending, { first, chosen }, turn.sequences) : pending;
    const limit = all.includes(1) ? Math.min(promptChunk, maxBatchedTokens) : maxBatchedTokens;
    const choice = chooseSequences(permitted, this.#longWasLast, isShared ? Math.min(limit, turn.tokens) : limit);
    this.#longWasLast = choice.long;
    return flows.map((flow, index) => {
      const count = choice.active[index] ? (pending[index] ?? 0) : 0;
      if (count > 0) this.#steps.charge(flow, count);
      return count;
    });
  }

  /** The part of a prompt that one step computes. Given answers and slots need one step. */
  #chunkOf(index: number, count: number, most: number): number {
    const sequence = this.#entries[index]?.sequence;
    const isPrompt = sequence?.needs && sequence.needs.kind !== "targets" && !sequence.context.perception;
    return isPrompt ? Math.min(count, most) : count;
  }
}

/** The sequence that shares the most cached elements with a prompt, if all visual tokens are among them. */
function bestDonor(entries: readonly Entry[], prompt: SequenceState): SequenceState | undefined {
  const needed = visualEnd(prompt.context);
  const [best] = entries
    // An entry that continues a kept prefix has no row before the step.
    .filter(({ sequence }) => sequence.cacheIndex !== undefined)
    .map(({ sequence }) => ({ sequence, count: Math.min(sharedElements(sequence, prompt), sequence.cached) }))
    .filter(({ count }) => count >= needed)
    .sort((a, b) => b.count - a.count);
  return best?.sequence;
}

/** The key of a prompt's beginning up to its last visual token, which only the same client continues. */
function prefixKey({ context, text }: SequenceState, flow: Flow): string | undefined {
  const { visual } = context;
  if (visual?.key === undefined) return undefined;
  return JSON.stringify([flow.name, visual.key, text.slice(0, visual.textBefore)]);
}

/** Limits for one client's part of a step that is shared. */
interface Turn {
  readonly sequences: number;
  readonly tokens: number;
}

/** What the next step of each client with pending sequences would cost. */
function flowCosts(flows: readonly Flow[], pending: readonly number[], turn: Turn): FlowCost[] {
  const totals = new Map<string, { readonly flow: Flow; tokens: number; isLong: boolean }>();
  flows.forEach((flow, index) => {
    const count = pending[index] ?? 0;
    if (count === 0) return;
    const total = totals.get(flow.name) ?? { flow, tokens: 0, isLong: false };
    total.tokens += count;
    total.isLong ||= count > 1;
    totals.set(flow.name, total);
  });
  return Array.from(totals.values(), ({ flow, tokens, isLong }) => ({
    flow,
    tokens: Math.min(tokens, isLong ? turn.tokens : turn.sequences),
  }));
}

/** Sequences that are not computed but lie between two others cost time, so that a shared step has few of them. */
const MAX_GAP = 4;

/**
 * The pending counts of a shared step, 0 for sequences that are not computed: of each chosen client, the first
 * `maxSequences` pending sequences, and only those that lie next to those of the client whose turn it is.
 */
function permittedSequences(
  flows: readonly Flow[],
  pending: readonly number[],
  { first, chosen }: ReturnType<FairQueue["choose"]>,
  maxSequences: number,
): readonly number[] {
  const counts = new Map<string, number>();
  const permitted = flows.map(({ name }, index) => {
    const taken = counts.get(name) ?? 0;
    if (!pending[index] || !chosen.has(name) || taken >= maxSequences) return 0;
    counts.set(name, taken + 1);
    return pending[index] ?? 0;
  });
  const middle = permitted.findIndex((count, index) => count > 0 && flows[index]?.name === first);
  const reach = (step: 1 | -1) => {
    let last = middle;
    for (let at = middle + step; at >= 0 && at < permitted.length && Math.abs(at - last) <= MAX_GAP + 1; at += step) {
      if (permitted[at]) last = at;
    }
    return last;
  };
  const [from, to] = [reach(-1), reach(1)];
  return permitted.map((count, index) => (index >= from && index <= to ? count : 0));
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
