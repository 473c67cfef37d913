import assert from "node:assert/strict";
import { randomStreams } from "../../src/core/random.js";
import type { GenerationRequest, SequenceState } from "../../src/generation/request.js";
import type { Priority } from "../../src/generation/request-origin.js";
import { Scheduler, type SchedulerLimits } from "../../src/generation/scheduler.js";
import { pendingCount, type SequenceContext } from "../../src/generation/sequence.js";
import type { StepOutput } from "../../src/generation/step.js";

/** Runs the scheduler without a model: the steps compute nothing and are counted. */

/** Texts by length; only their lengths matter here. */
const texts = Array.from({ length: 400 }, (_, length): readonly number[] => new Array(length).fill(0));
const output: StepOutput = { next: { tokens: [], logProbs: [] }, targetLogProbs: [] };

/** A client and the tokens that were computed for it. */
export interface Client {
  readonly name: string;
  readonly priority: Priority;
  readonly context: SequenceContext;
  tokens: number;
}

const clients = new WeakMap<SequenceContext, Client>();

export function clientOf(name: string, priority: Priority = "interactive"): Client {
  const client = { name, priority, context: {}, tokens: 0 };
  clients.set(client.context, client);
  return client;
}

/** A request that computes a prompt and then a number of tokens in each of its sequences. */
export class CountedRequest implements GenerationRequest {
  readonly origin;
  readonly client: Client;
  readonly maxSequences: number;
  sequences: readonly SequenceState[];
  #tokensLeft: number;

  constructor(client: Client, sequences: number, prompt: number, tokens: number) {
    this.origin = { client: client.name, priority: client.priority };
    this.client = client;
    this.maxSequences = sequences;
    this.#tokensLeft = tokens;
    const text = texts[prompt] ?? [];
    this.sequences = [
      { context: client.context, text, cached: 0, cacheIndex: undefined, needs: { kind: "next", count: 1 } },
    ];
  }

  get isDone(): boolean {
    return this.sequences.length === 0;
  }

  advance(computed: readonly SequenceState[]): void {
    const [first] = computed;
    assert.ok(first);
    const text = texts[first.text.length + 1] ?? [];
    const parents = computed.length === 1 ? new Array<SequenceState>(this.maxSequences).fill(first) : computed;
    this.sequences = this.#tokensLeft-- > 0 ? parents.map((parent) => ({ ...parent, text })) : [];
  }
}

/** Runs one step and counts its tokens. Returns the requests that advanced. */
export function step(scheduler: Scheduler): readonly GenerationRequest[] {
  const plan = scheduler.plan();
  if (!plan) return [];
  const outputs: StepOutput[] = [];
  for (const { active, sequence } of plan.scheduled) {
    if (!active) continue;
    outputs.push(output);
    const client = clients.get(sequence.context);
    if (client) client.tokens += pendingCount(sequence);
  }
  assert.ok(outputs.length > 0, "a step computes something");
  return scheduler.commit(outputs);
}

const SEEDS = 10;

/** Steps within which every request must be completed: three times as many as the longest has taken in 1,000,000. */
const LONGEST = 1200;

/** Random requests of six clients, some of which are cancelled. Returns the longest time of a request, in steps. */
function randomRun(seed: number, steps: number, limits: SchedulerLimits): number {
  const [random = Math.random] = randomStreams(seed, 1);
  const scheduler = new Scheduler(limits);
  const some = (most: number) => 1 + Math.floor(random() * most);
  const all = [0, 1, 2, 3, 4, 5].map((index) => ({
    client: clientOf(`client ${index}`, index < 3 ? "interactive" : "bulk"),
    requests: new Map<GenerationRequest, number>(),
  }));
  let longest = 0;
  for (let at = 0; at < steps; at++) {
    const one = all[Math.floor(random() * all.length)];
    if (one && one.requests.size < 3) {
      const request = new CountedRequest(
        one.client,
        some(random() < 0.2 ? limits.maxSequences : 3),
        some(20),
        some(12),
      );
      one.requests.set(request, at);
      scheduler.add(request);
    }
    if (random() < 0.01) {
      const [request] = one?.requests.keys() ?? [];
      if (request) scheduler.remove(request);
      if (request) one?.requests.delete(request);
    }
    step(scheduler);
    for (const { requests } of all) {
      for (const [request, begun] of requests) {
        longest = Math.max(longest, at - begun);
        if (request.sequences.length === 0) requests.delete(request);
      }
    }
  }
  return longest;
}

/** Fails if a request waits too long, in a number of steps of all random runs together. */
export function assertNoRequestWaits(steps: number): void {
  for (let seed = 0; seed < SEEDS; seed++) {
    const limits = { maxSequences: 4 + seed, maxBatchedTokens: 32 + 96 * seed };
    const longest = randomRun(seed, steps / SEEDS, limits);
    assert.ok(longest <= LONGEST, `seed ${seed}: a request took ${longest} steps, expected at most ${LONGEST}`);
  }
}
