import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { GenerationRequest } from "../../src/generation/request.js";
import { priorityWeights } from "../../src/generation/request-origin.js";
import { Scheduler } from "../../src/generation/scheduler.js";
import { assertNoRequestWaits, type Client, CountedRequest, clientOf, step } from "../support/counted-requests.js";

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

describe("random requests of clients of both priorities", () => {
  // `test/integration/generation` runs 1,000,000 steps.
  it("are all completed soon, in 50,000 steps", () => assertNoRequestWaits(50_000));
});
