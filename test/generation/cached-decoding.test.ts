import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Engine } from "../../src/generation/engine.js";
import type { GenerationOptions } from "../../src/generation/options.js";
import { ScoringRequest } from "../../src/generation/request.js";
import type { SequenceContext } from "../../src/generation/sequence.js";
import type { FinishedHypothesis } from "../../src/generation/strategies/strategy.js";
import { elementCount, type Tensor } from "../../src/tensor/tensor.js";
import { type GoldenDecoder, goldens, openGolden, writingJob } from "../support/golden-decoder.js";

/** Difference of log-probabilities between two orders of summation in float32. */
const TOLERANCE = 1e-3;

function assertSame(found: readonly number[], expected: readonly number[], what: string): void {
  assert.equal(found.length, expected.length, what);
  expected.forEach((value, index) => {
    assert.ok(
      Math.abs((found[index] ?? 0) - value) <= TOLERANCE,
      `${what} ${index}: ${found[index]}, expected ${value}`,
    );
  });
}

/** The log-probability of every token, with the whole preceding text recomputed without a cache. */
async function recomputed(
  { decoder }: GoldenDecoder,
  context: SequenceContext,
  prompt: readonly number[],
  tokens: readonly number[],
): Promise<number[]> {
  const logProbs: number[] = [];
  for (let known = 0; known < tokens.length; known++) {
    const text = [...prompt, ...tokens.slice(0, known)];
    const sequence = {
      sequence: { context, text, cached: 0 },
      active: true,
      needs: { kind: "logits" } as const,
    };
    const [output] = await decoder.step({
      sources: [undefined],
      cachedLengths: [0],
      first: 0,
      scheduled: [sequence],
    });
    assert.ok(output && "logits" in output.next);
    logProbs.push((output.next.logits[tokens[known] ?? -1] ?? Number.NaN) - output.next.normalizer);
    decoder.clear();
  }
  return logProbs;
}

async function write(
  golden: GoldenDecoder,
  engine: Engine,
  context: SequenceContext,
  prompt: readonly number[],
  options: GenerationOptions,
): Promise<readonly FinishedHypothesis[]> {
  const { job, hypotheses } = writingJob(context, prompt, options, golden.specialTokens.eosTokenIds);
  await engine.run(job);
  return hypotheses();
}

/** Three soft tokens that differ from those of all golden adapters. */
function waves({ decoder }: GoldenDecoder): Tensor {
  const shape = [3, decoder.shape.embeddingWidth];
  return {
    type: "float32",
    shape,
    data: Float32Array.from({ length: elementCount(shape) }, (_, i) => Math.sin(i)),
  };
}

/** Waits until the engine has freed the cache: a decoder can have only one engine at a time. */
async function untilIdle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await setImmediate();
}

for (const name of goldens) {
  describe(`decoding with a cache: ${name}`, () => {
    let golden: GoldenDecoder;
    before(async () => {
      golden = await openGolden(name);
    });
    after(() => golden.close());

    const settings: [string, (index: number) => SequenceContext][] = [
      ["the adapter's own settings", (index) => golden.context(index)],
      ["a slot that attends to itself", (index) => golden.context(index, { perceptionSees: "itself" })],
      ["a slot that attends to everything", (index) => golden.context(index, { perceptionSees: "everything" })],
      [
        "a slot whose injection ends early",
        (index) => golden.context(index, { perceptionSees: "everything", startLayer: 1, endLayer: 3 }),
      ],
      ["another adapter's soft prompt", (index) => ({ ...golden.context(index), softPrompt: waves(golden) })],
      ["a soft prompt without an image", () => ({ softPrompt: waves(golden) })],
      ["text only", () => ({})],
    ];

    for (const [what, contextOf] of settings) {
      it(`equals full recomputation: ${what}`, async () => {
        const engine = new Engine(golden.decoder);
        for (const [index, prompt] of golden.prompts.entries()) {
          const [best] = await write(golden, engine, contextOf(index), prompt, { maxNewTokens: 8 });
          assert.ok(best);
          const tokens = [
            ...best.tokens,
            ...(best.finish === "end" ? golden.specialTokens.eosTokenIds.slice(0, 1) : []),
          ];
          assertSame(
            best.logProbs,
            await recomputed(golden, contextOf(index), prompt, tokens),
            `sequence ${index}, token`,
          );
        }
      });
    }

    it("gives each of many sequences of different lengths the same result as alone", async () => {
      const requests = golden.prompts.flatMap((prompt, index) =>
        settings.map(([, contextOf], kind) => ({
          context: contextOf(index),
          prompt: prompt.slice(0, 1 + ((index * 5 + kind * 3) % prompt.length)),
          options: [
            { maxNewTokens: 6 },
            { beams: 3, maxNewTokens: 5 },
            { temperature: 1, seed: kind, numReturnSequences: 2, maxNewTokens: 4 },
          ][(index + kind) % 3] as GenerationOptions,
        })),
      );
      const alone: (readonly FinishedHypothesis[])[] = [];
      const single = new Engine(golden.decoder);
      for (const { context, prompt, options } of requests) {
        alone.push(await write(golden, single, context, prompt, options));
      }
      await untilIdle();
      // The limits are low, so that requests wait, join and leave while others run.
      const engine = new Engine(golden.decoder, { maxSequences: 12, maxBatchedTokens: 40 });
      const together = await Promise.all(
        requests.map(({ context, prompt, options }) => write(golden, engine, context, prompt, options)),
      );
      together.forEach((hypotheses, request) => {
        const expected = alone[request] ?? [];
        assert.deepEqual(
          hypotheses.map(({ tokens }) => tokens),
          expected.map(({ tokens }) => tokens),
          `request ${request}`,
        );
        for (const [at, { logProbs }] of hypotheses.entries()) {
          assertSame(logProbs, expected[at]?.logProbs ?? [], `request ${request}, token`);
        }
      });
      await untilIdle();
      assert.equal(golden.decoder.cacheBytes, 0, "the cache is freed");
    });

    it("scores given answers as if they were computed one token at a time", async () => {
      const engine = new Engine(golden.decoder);
      const prompt = golden.prompts[0] ?? [];
      const answers = [[5], [7, 9, 11], [20, 21], ...Array.from({ length: 20 }, (_, i) => [30 + i, 40 + i, 50])];
      for (const [what, contextOf] of settings) {
        const job = new ScoringRequest(contextOf(0), prompt, answers);
        await engine.run(job);
        await untilIdle();
        for (const [index, answer] of answers.slice(0, 4).entries()) {
          assertSame(
            job.logProbs[index] ?? [],
            await recomputed(golden, contextOf(0), prompt, answer),
            `${what}, answer ${index}, token`,
          );
        }
        assert.ok(job.logProbs.every((logProbs, index) => logProbs.length === answers[index]?.length));
      }
    });
  });
}

describe("an engine", () => {
  let golden: GoldenDecoder;
  before(async () => {
    golden = await openGolden("opt-shared-1token");
  });
  after(() => golden.close());

  it("stops a request at once when it is cancelled, and continues with the others", async () => {
    const engine = new Engine(golden.decoder);
    const [prompt = []] = golden.prompts;
    const controller = new AbortController();
    const long = writingJob(golden.context(0), prompt, { maxNewTokens: 40 }, []);
    let steps = 0;
    const taken = engine.run(long.job, {
      signal: controller.signal,
      onProgress: () => {
        if (++steps === 3) controller.abort();
      },
    });
    const other = write(golden, engine, golden.context(1), golden.prompts[1] ?? [], { maxNewTokens: 10 });
    await assert.rejects(taken, { code: "aborted" });
    assert.equal(steps, 3);
    const found = await other;
    await untilIdle();
    const alone = await write(golden, new Engine(golden.decoder), golden.context(1), golden.prompts[1] ?? [], {
      maxNewTokens: 10,
    });
    assert.deepEqual(found[0]?.tokens, alone[0]?.tokens);
    await assert.rejects(engine.run(long.job, { signal: controller.signal }), { code: "aborted" });
  });

  it("rejects only the request whose callback throws", async () => {
    await untilIdle();
    const engine = new Engine(golden.decoder);
    const [prompt = []] = golden.prompts;
    const careless = writingJob(golden.context(0), prompt, { maxNewTokens: 5 }, []);
    const failing = engine.run(careless.job, {
      onProgress() {
        throw new RangeError("careless");
      },
    });
    const other = write(golden, engine, golden.context(1), prompt, { maxNewTokens: 5 });
    await assert.rejects(failing, { message: "careless" });
    assert.ok((await other)[0]);
    await untilIdle();
    assert.equal(golden.decoder.cacheBytes, 0);
  });

  it("ignores a signal that fires after the request is done", async () => {
    const engine = new Engine(golden.decoder);
    const controller = new AbortController();
    const { job } = writingJob(golden.context(0), golden.prompts[0] ?? [], { maxNewTokens: 2 }, []);
    await engine.run(job, { signal: controller.signal });
    controller.abort();
    await untilIdle();
    assert.equal(golden.decoder.cacheBytes, 0);
  });

  it("rejects the running requests when a step fails, and works again afterwards", async () => {
    await untilIdle();
    const engine = new Engine(golden.decoder);
    const [prompt = []] = golden.prompts;
    const wrong = writingJob(golden.context(0), [1e6], { maxNewTokens: 3 }, []);
    // An id far above the vocabulary refers to a soft token that does not exist.
    await assert.rejects(engine.run(wrong.job), { code: "internal" });
    const [best] = await write(golden, engine, golden.context(0), prompt, { maxNewTokens: 3 });
    assert.equal(best?.logProbs.length, 3);
  });
});
