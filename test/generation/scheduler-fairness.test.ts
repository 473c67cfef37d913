import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { randomStreams } from "../../src/core/random.js";
import type { GenerationRequest, SequenceState } from "../../src/generation/request.js";
import { type Priority, priorityWeights } from "../../src/generation/request-origin.js";
import { Scheduler, type SchedulerLimits } from "../../src/generation/scheduler.js";
import { pendingCount, type SequenceContext } from "../../src/generation/sequence.js";
import type { StepOutput } from "../../src/generation/step.js";

/** Texts by length; only their lengths matter here. */
const texts = Array.from({ length: 400 }, (_, length): readonly number[] => new Array(length).fill(0));
const output: StepOutput = { next: { tokens: [], logProbs: [] }, targetLogProbs: [] };

/** A client and the tokens that were computed for it. */
interface Client {
  readonly name: string;
  readonly priority: Priority;
  readonly context: SequenceContext;
  tokens: number;
}

const clients = new WeakMap<SequenceContext, Client>();

function clientOf(name: string, priority: Priority = "interactive"): Client {
  const client = { name, priority, context: {}, tokens: 0 };
  clients.set(client.context, client);
  return client;
}

/** A request that computes a prompt and then a number of tokens in each of its sequences. */
class CountedRequest implements GenerationRequest {
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
function step(scheduler: Scheduler): readonly GenerationRequest[] {
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

/** Keeps a number of requests of each client in the scheduler, for a number of steps. */
function keepBusy(scheduler: Scheduler, steps: number, work: readonly (readonly [number, () => CountedRequest])[]) {
  const running = work.map(() => new Set<GenerationRequest>());
  for (let at = 0; at < steps; at++) {
    work.forEach(([count, create], index) => {
      for (const own = running[index] ?? new Set(); own.size < count; ) {
        const request = create();
        own.add(request);
        scheduler.add(request);
      }
    });
    for (const request of step(scheduler)) {
      if (request.sequences.length === 0) for (const own of running) own.delete(request);
    }
  }
}

/** 16 questions with 16 beams and 100 tokens, four times. */
const heavyRequests = (client: Client) => Array.from({ length: 64 }, () => new CountedRequest(client, 16, 12, 100));

describe("a client with small requests", () => {
  for (const heavyClients of [1, 2, 4]) {
    it(`gets its answer after at most as many tokens as its own for each of ${heavyClients} busy clients`, () => {
      for (let begins = 0; begins < 200; begins += 29) {
        const scheduler = new Scheduler();
        const busy = Array.from({ length: heavyClients }, (_, index) => clientOf(`busy ${index}`));
        for (const client of busy) for (const request of heavyRequests(client)) scheduler.add(request);
        for (let at = 0; at < begins; at++) step(scheduler);
        const before = busy.map(({ tokens }) => tokens);
        const request = new CountedRequest(clientOf("bystander"), 3, 12, 30);
        scheduler.add(request);
        while (!request.isDone) step(scheduler);
        const most = Math.max(...busy.map(({ tokens }, index) => tokens - (before[index] ?? 0)));
        // 12 + 3 * 30 tokens of its own, the window of 32, and recomputed sequences of the busy clients.
        assert.ok(most <= 250, `${most} tokens of another client`);
      }
    });
  }

  it("does not wait for the slots of a client that holds all of them", () => {
    const scheduler = new Scheduler();
    const busy = clientOf("busy");
    for (const request of heavyRequests(busy)) scheduler.add(request);
    for (let at = 0; at < 50; at++) step(scheduler);
    const ranking = new CountedRequest(clientOf("bystander"), 17, 12, 3);
    scheduler.add(ranking);
    for (let at = 0; at < 20 && !ranking.isDone; at++) step(scheduler);
    assert.ok(ranking.isDone, "needs 17 slots, more than are reserved");
    for (let at = 0; at < 10_000 && !scheduler.idle; at++) step(scheduler);
    assert.ok(scheduler.idle, "paused requests are completed");
  });
});

describe("clients that are always busy", () => {
  it("get the same number of tokens, whatever the size of their requests", () => {
    const [large, small, long] = [clientOf("large"), clientOf("small"), clientOf("long")];
    keepBusy(new Scheduler(), 5_000, [
      [8, () => new CountedRequest(large, 16, 5, 60)],
      [4, () => new CountedRequest(small, 1, 5, 10)],
      [2, () => new CountedRequest(long, 1, 200, 5)],
    ]);
    const counts = [large, small, long].map(({ tokens }) => tokens);
    assert.ok(Math.max(...counts) <= 1.1 * Math.min(...counts), counts.join(", "));
  });

  it("get tokens in proportion to the weights of their priority classes", () => {
    const [interactive, bulk] = [clientOf("same", "interactive"), clientOf("same", "bulk")];
    keepBusy(new Scheduler(), 5_000, [
      [4, () => new CountedRequest(interactive, 4, 5, 20)],
      [4, () => new CountedRequest(bulk, 4, 5, 20)],
    ]);
    const ratio = bulk.tokens / interactive.tokens;
    assert.ok(Math.abs(ratio - priorityWeights.bulk) < 0.03, `${ratio}`);
  });
});

/** Steps of the random runs together. */
const STEPS = 1_000_000;
const SEEDS = 10;

/** Steps within which every request must be completed: three times as many as the longest has taken. */
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

describe("random requests of clients of both priorities", () => {
  it(`are all completed within ${LONGEST} steps, in ${STEPS} steps`, () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      const limits = { maxSequences: 4 + seed, maxBatchedTokens: 32 + 96 * seed };
      const longest = randomRun(seed, STEPS / SEEDS, limits);
      assert.ok(longest <= LONGEST, `seed ${seed}: a request took ${longest} steps`);
    }
  });
});
