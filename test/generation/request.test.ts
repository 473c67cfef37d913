import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { type GenerationOptions, parseGenerationOptions } from "../../src/generation/options.js";
import { DecodingRequest, type GenerationRequest, ScoringRequest } from "../../src/generation/request.js";
import { Scheduler } from "../../src/generation/scheduler.js";
import { pendingCount, type SequenceContext } from "../../src/generation/sequence.js";
import { createStrategy } from "../../src/generation/strategies/create-strategy.js";
import { run, waveModel } from "../support/table-model.js";
import { contextOf, drain, LabelDecoder, visualContext } from "./label-decoder.js";

const model = waveModel(12, 3);
const noEnd = { eosTokenIds: new Set<number>(), decode: () => "" };

const contexts: readonly SequenceContext[] = [
  {},
  contextOf(3),
  contextOf(2, { perceptionSees: "itself", cacheable: true }),
  contextOf(1, { perceptionSees: "everything", cacheable: true }),
  contextOf(2, { perceptionSees: "everything", cacheable: false }),
  visualContext(3, 0, "a"),
  visualContext(3, 0, "a"),
  visualContext(2, 1, "b", 2),
  visualContext(2, 1, "b", 2),
];

/** A request, and a check that its result is the same as alone. */
interface Request {
  readonly job: GenerationRequest;
  assertRight(decoder: LabelDecoder): void;
}

function writing(context: SequenceContext, prompt: readonly number[], options: GenerationOptions): Request {
  const strategy = () => createStrategy(parseGenerationOptions(options), noEnd);
  const job = new DecodingRequest(context, prompt, strategy());
  return {
    job,
    assertRight() {
      assert.deepEqual(job.strategy.hypotheses(), run(strategy(), model, prompt).hypotheses);
    },
  };
}

function scoring(
  context: SequenceContext,
  prompt: readonly number[],
  answers: readonly (readonly number[])[],
): Request {
  const job = new ScoringRequest(context, prompt, answers);
  return {
    job,
    assertRight(decoder) {
      const expected = answers.map((answer) =>
        answer.map((token, at) => decoder.logProb([...prompt, ...answer.slice(0, at)], token)),
      );
      assert.deepEqual(job.logProbs, expected);
    },
  };
}

const token = fc.integer({ min: 0, max: 11 });
const prompts = fc.array(token, { minLength: 1, maxLength: 9 });
const anyContext = fc.constantFrom(...contexts);
const maxNewTokens = fc.integer({ min: 1, max: 6 });
const options = fc.oneof(
  fc.record({ maxNewTokens }),
  fc.record({ maxNewTokens, beams: fc.integer({ min: 2, max: 4 }) }),
  fc.record({
    maxNewTokens,
    temperature: fc.constant(1),
    numReturnSequences: fc.integer({ min: 1, max: 3 }),
    seed: fc.nat(99),
  }),
);
const answers = fc.array(fc.array(token, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 20 });
const request = fc.oneof(
  fc.tuple(anyContext, prompts, options).map((parts) => () => writing(...parts)),
  fc.tuple(anyContext, prompts, answers).map((parts) => () => scoring(...parts)),
);

describe("requests on one scheduler", () => {
  it("give the same results as alone, whenever requests arrive or are removed", () => {
    const arrival = fc.record({ request, begins: fc.nat(12), leaves: fc.option(fc.nat(20), { freq: 3 }) });
    fc.assert(
      fc.property(fc.array(arrival, { minLength: 1, maxLength: 8 }), fc.nat(40), (arrivals, more) => {
        const limits = { maxSequences: 17 + more, maxBatchedTokens: 5 + more, promptChunk: 1 + (more % 7) };
        const decoder = new LabelDecoder(model);
        const scheduler = new Scheduler(limits, decoder);
        const jobs = arrivals.map((one) => ({ ...one, ...one.request() }));
        for (let step = 0; step <= 20; step++) {
          for (const { job, begins, leaves } of jobs) {
            if (begins === step) scheduler.add(job);
            if (leaves === step) scheduler.remove(job);
          }
          const plan = scheduler.plan();
          if (!plan) continue;
          assert.ok(plan.sources.length <= limits.maxSequences);
          const active = plan.scheduled.filter((sequence) => sequence.active);
          const width = Math.max(...active.map(({ sequence, count = pendingCount(sequence) }) => count));
          assert.ok(width === 1 || active.length === 1 || width * active.length <= limits.maxBatchedTokens);
          scheduler.commit(decoder.step(plan));
        }
        assert.ok(drain(scheduler, decoder) < 1000 && scheduler.idle);
        for (const { leaves, assertRight } of jobs) if (leaves === null) assertRight(decoder);
      }),
      { numRuns: 300 },
    );
  });

  it("continue a kept beginning after they have waited for another request to compute it", () => {
    const decoder = new LabelDecoder(model);
    const scheduler = new Scheduler({ maxSequences: 17, maxBatchedTokens: 5, promptChunk: 1 }, decoder);
    const [context = {}] = contexts.filter(({ visual }) => visual?.key === "a");
    const jobs = [
      writing(context, [0], { maxNewTokens: 1 }),
      scoring(context, [0], [[0]]),
      scoring(context, [0], [[1]]),
    ];
    for (const { job } of jobs) scheduler.add(job);
    assert.ok(drain(scheduler, decoder) < 10);
    for (const { assertRight } of jobs) assertRight(decoder);
  });

  it("wait in order of arrival, even a small one after a large one", () => {
    const [scheduler, decoder] = [new Scheduler({ maxSequences: 5, maxBatchedTokens: 100 }), new LabelDecoder(model)];
    const ended: string[] = [];
    const jobs = new Map<GenerationRequest, string>();
    for (const [name, beams] of [
      ["first", 3],
      ["large", 4],
      ["small", 1],
    ] as const) {
      const { job } = writing({}, [1, 2], { beams, maxNewTokens: name === "small" ? 1 : 6 });
      jobs.set(job, name);
      scheduler.add(job);
    }
    assert.equal(scheduler.waiting, 3);
    for (let plan = scheduler.plan(); plan; plan = scheduler.plan()) {
      if (ended.length === 0) assert.equal(scheduler.waiting, 2, "the small one does not overtake");
      for (const job of scheduler.commit(decoder.step(plan))) {
        if (job.sequences.length === 0) ended.push(jobs.get(job) ?? "");
      }
    }
    assert.deepEqual(ended, ["first", "small", "large"]);
  });

  it("get their next token in at least every other step, regardless of the number of prompts", () => {
    const [scheduler, decoder] = [new Scheduler({ maxSequences: 8, maxBatchedTokens: 8 }), new LabelDecoder(model)];
    const { job } = writing({}, [1], { maxNewTokens: 20 });
    scheduler.add(job);
    let steps = 0;
    for (; job.sequences.length > 0; steps++) {
      scheduler.add(writing({}, [1, 2, 3, 4, 5], { maxNewTokens: 1 }).job);
      const plan = scheduler.plan();
      if (plan) scheduler.commit(decoder.step(plan));
    }
    assert.ok(steps <= 2 * 20, `${steps} steps`);
  });

  it("get their prompt computed immediately, regardless of the number of sequences that need a next token", () => {
    const [scheduler, decoder] = [new Scheduler({ maxSequences: 8, maxBatchedTokens: 8 }), new LabelDecoder(model)];
    for (let others = 0; others < 7; others++) scheduler.add(writing({}, [1], { maxNewTokens: 50 }).job);
    scheduler.commit(decoder.step(scheduler.plan() ?? assert.fail("nothing to do")));
    const { job } = writing({}, new Array(30).fill(2), { maxNewTokens: 2 });
    scheduler.add(job);
    scheduler.commit(decoder.step(scheduler.plan() ?? assert.fail("nothing to do")));
    assert.equal(job.sequences[0]?.text.length, 31);
  });

  it("can be removed while they wait, before their first step, and between steps", () => {
    const [scheduler, decoder] = [new Scheduler({ maxSequences: 2, maxBatchedTokens: 8 }), new LabelDecoder(model)];
    const [first, second, third] = [1, 2, 3].map((id) => writing({}, [id], { beams: 2, maxNewTokens: 4 }));
    assert.ok(first && second && third);
    for (const { job } of [first, second, third]) scheduler.add(job);
    scheduler.remove(second.job);
    scheduler.commit(decoder.step(scheduler.plan() ?? assert.fail("nothing to do")));
    scheduler.remove(first.job);
    assert.equal(scheduler.waiting, 1);
    drain(scheduler, decoder);
    third.assertRight(decoder);
    scheduler.remove(third.job);
    assert.ok(scheduler.idle);
  });
});

describe("ScoringRequest", () => {
  const [seesItself, seesEverything] = [contexts[2] ?? {}, contexts[3] ?? {}];

  it("computes an answer in one step, but token by token if the slot attends to later tokens", () => {
    for (const [context, steps] of [
      [{}, 2],
      [seesItself, 2],
      [seesEverything, 5],
    ] as const) {
      const [scheduler, decoder] = [new Scheduler(), new LabelDecoder(model)];
      const request = scoring(context, [1, 2], [[3, 4, 5, 6, 7], [8]]);
      scheduler.add(request.job);
      assert.equal(drain(scheduler, decoder), steps);
      request.assertRight(decoder);
    }
  });

  it("needs only the prompt's sequence for answers of one token", () => {
    const job = new ScoringRequest({}, [1], [[2], [3], [4]]);
    assert.equal(job.maxSequences, 1);
  });
});

describe("prompts about the same image", () => {
  const ask = (key: string, prompt: readonly number[], client?: string) => {
    const strategy = createStrategy(parseGenerationOptions({ maxNewTokens: 3 }), noEnd);
    return new DecodingRequest(visualContext(20, 2, key), prompt, strategy, { client });
  };
  const computedBy = (jobs: readonly GenerationRequest[]) => {
    const [scheduler, decoder] = [new Scheduler(), new LabelDecoder(model)];
    for (const job of jobs) scheduler.add(job);
    assert.ok(drain(scheduler, decoder) < 1000);
    return decoder.computed;
  };
  const prompts = [
    [1, 2, 3, 4],
    [1, 2, 3, 5, 6],
    [1, 2, 7],
  ] as const;
  const alone = prompts.map((prompt) => computedBy([ask("image", prompt)]));
  const sum = alone.reduce((total, count) => total + count, 0);

  it("pay once for its visual tokens and the text before them", () => {
    const together = computedBy(prompts.map((prompt) => ask("image", prompt)));
    // The others share 2 tokens before the image and 20 of it, and the second one another token.
    assert.equal(together, sum - 2 * 22 - 1);
  });

  it("pay once if they are asked one after another, by the same client", () => {
    const decoder = new LabelDecoder(model);
    const scheduler = new Scheduler({ maxSequences: 8, maxBatchedTokens: 4096 }, decoder);
    const costOf = (job: GenerationRequest) => {
      const before = decoder.computed;
      scheduler.add(job);
      assert.ok(drain(scheduler, decoder) < 1000 && scheduler.idle);
      return decoder.computed - before;
    };
    const costs = prompts.map((prompt) => costOf(ask("image", prompt)));
    assert.deepEqual(
      costs,
      alone.map((cost, at) => (at === 0 ? cost : cost - 22)),
    );
    assert.equal(costOf(ask("image", prompts[0], "another client")), alone[0]);
  });

  it("pay for their own if the images, the texts before them or the clients differ", () => {
    assert.equal(computedBy(prompts.map((prompt, at) => ask(`image ${at}`, prompt))), sum);
    assert.equal(computedBy(prompts.map((prompt, at) => ask("image", prompt, `client ${at}`))), sum);
    assert.equal(computedBy(prompts.map((prompt, at) => ask("image", [at, ...prompt.slice(1)]))), sum);
  });
});

describe("a long prompt", () => {
  it("is computed in parts beside sequences that wait for their next token", () => {
    const scheduler = new Scheduler({ maxSequences: 8, maxBatchedTokens: 4096, promptChunk: 10 });
    const decoder = new LabelDecoder(model);
    const strategy = (tokens: number) => createStrategy(parseGenerationOptions({ maxNewTokens: tokens }), noEnd);
    const running = new DecodingRequest({}, [1], strategy(40));
    scheduler.add(running);
    const step = () => {
      const plan = scheduler.plan();
      assert.ok(plan);
      scheduler.commit(decoder.step(plan));
      return plan.scheduled.flatMap(({ active, count }) => (active ? [count] : []));
    };
    step();
    scheduler.add(new DecodingRequest(visualContext(30, 0, "image"), [2, 3, 4], strategy(2)));
    assert.deepEqual([step(), step(), step(), step()], [[10], [1], [10], [1]], "parts and next tokens alternate");
    assert.ok(drain(scheduler, decoder) < 1000 && scheduler.idle);
    assert.deepEqual(running.strategy.hypotheses(), run(strategy(40), model, [1]).hypotheses);
  });

  it("is computed in parts if nothing else is running, several such prompts together", () => {
    const scheduler = new Scheduler({ maxSequences: 8, maxBatchedTokens: 4096, promptChunk: 10 });
    const decoder = new LabelDecoder(model);
    const counts: (readonly number[])[] = [];
    for (const image of ["a", "b"]) {
      const strategy = createStrategy(parseGenerationOptions({ maxNewTokens: 1 }), noEnd);
      scheduler.add(new DecodingRequest(visualContext(20, 0, image), [2, 3, 4], strategy));
    }
    for (let plan = scheduler.plan(); plan; plan = scheduler.plan()) {
      scheduler.commit(decoder.step(plan));
      counts.push(plan.scheduled.map(({ count = 0 }) => count));
    }
    assert.deepEqual(counts, [
      [10, 10],
      [10, 10],
      [3, 3],
    ]);
  });
});
