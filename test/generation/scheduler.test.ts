import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { parseGenerationOptions } from "../../src/generation/options.js";
import { DecodingRequest } from "../../src/generation/request.js";
import { chooseSequences, Scheduler } from "../../src/generation/scheduler.js";
import { pendingCount } from "../../src/generation/sequence.js";
import type { StepPlan } from "../../src/generation/step.js";
import { createStrategy } from "../../src/generation/strategies/create-strategy.js";

describe("chooseSequences", () => {
  const cases: [string, number[], boolean, number, boolean[]][] = [
    ["all next tokens together", [1, 1, 0, 1], false, 100, [true, true, false, true]],
    ["a prompt before next tokens", [1, 5, 1], false, 100, [false, true, false]],
    ["next tokens after a prompt, even if another one is waiting", [1, 5, 1], true, 100, [true, false, true]],
    ["prompts together up to the limit", [5, 5, 5], false, 10, [true, true, false]],
    ["a single prompt that exceeds the limit", [50, 5], false, 10, [true, false]],
    ["prompts again if nothing else is waiting", [5, 0], true, 100, [true, false]],
  ];
  for (const [what, pending, longWasLast, stepTokens, expected] of cases) {
    it(`chooses ${what}`, () => assert.deepEqual(chooseSequences(pending, longWasLast, stepTokens).active, expected));
  }
});

describe("Scheduler", () => {
  /** Applies `sources` and the step's columns to a cache of lists of tokens. */
  function apply(cache: number[][], plan: StepPlan): number[][] {
    const moved = plan.sources.map((source, sequence) =>
      source === undefined ? [] : (cache[source] ?? []).slice(0, plan.cachedLengths[sequence]),
    );
    plan.scheduled.forEach(({ sequence, active }, index) => {
      const at = plan.first + index;
      assert.deepEqual(moved[at], sequence.text.slice(0, sequence.cached), "the cache holds the sequence's own tokens");
      if (active) moved[at] = [...sequence.text];
    });
    return moved;
  }

  it("completes every request and never mixes up the rows of the cache", () => {
    const request = fc.record({
      prompt: fc.integer({ min: 1, max: 9 }),
      beams: fc.integer({ min: 1, max: 4 }),
      tokens: fc.integer({ min: 1, max: 6 }),
      begins: fc.nat(10),
      leaves: fc.option(fc.nat(15)),
      client: fc.constantFrom("a", "b", "c", "d"),
      priority: fc.constantFrom("interactive" as const, "bulk" as const),
    });
    fc.assert(
      fc.property(
        fc.array(request, { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 4, max: 10 }),
        (requests, maxSequences) => {
          const scheduler = new Scheduler({ maxSequences, maxBatchedTokens: 12 });
          const jobs = requests.map(({ prompt, beams, tokens, client, priority }, id) => {
            const options = beams > 1 ? { beams, maxNewTokens: tokens } : { maxNewTokens: tokens };
            const strategy = createStrategy(parseGenerationOptions(options), {
              eosTokenIds: new Set(),
              decode: () => "",
            });
            return new DecodingRequest(
              {},
              Array.from({ length: prompt }, (_, i) => 100 * (id + 1) + i),
              strategy,
              { client, priority },
            );
          });
          let cache: number[][] = [];
          for (let step = 0; step < 400; step++) {
            requests.forEach(({ begins, leaves }, id) => {
              const job = jobs[id] as DecodingRequest;
              if (begins === step) scheduler.add(job);
              if (leaves !== null && leaves === step) scheduler.remove(job);
            });
            const plan = scheduler.plan();
            if (!plan) {
              if (step > 15 && scheduler.idle) return;
              continue;
            }
            assert.ok(plan.sources.length <= 1.25 * maxSequences);
            cache = apply(cache, plan);
            const outputs = plan.scheduled
              .filter(({ active }) => active)
              .map(({ sequence }) => {
                assert.ok(pendingCount(sequence) > 0);
                const best = Array.from(
                  { length: 12 },
                  (_, i) => ((sequence.text.at(-1) ?? 0) * 7 + i * 5 + step) % 90,
                );
                return {
                  targetLogProbs: [],
                  next: { tokens: best, logProbs: best.map((_, rank) => -1 - rank) },
                };
              });
            scheduler.commit(outputs);
          }
          assert.fail("not idle after 400 steps");
        },
      ),
      { numRuns: 200, seed: 1 },
    );
  });

  it("rejects a request that needs more sequences than the limit", () => {
    const strategy = createStrategy(parseGenerationOptions({ beams: 5 }), {
      eosTokenIds: new Set(),
      decode: () => "",
    });
    const scheduler = new Scheduler({ maxSequences: 4, maxBatchedTokens: 10 });
    assert.throws(() => scheduler.add(new DecodingRequest({}, [1], strategy)), { code: "invalid_option" });
  });
});
