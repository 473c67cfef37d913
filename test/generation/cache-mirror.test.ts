import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { ClockedSession } from "../../bench/greedy-run.js";
import { Decoder } from "../../src/generation/decoder.js";
import { Engine } from "../../src/generation/engine.js";
import type { GenerationOptions } from "../../src/generation/options.js";
import { ScoringRequest } from "../../src/generation/request.js";
import type { Session } from "../../src/runtime/session.js";
import { type GoldenDecoder, openGolden, writingJob } from "../support/golden-decoder.js";
import { type HoldingOnCpu, holdingOnCpu } from "../support/holding-on-cpu.js";
import { blockBytes, mirrorRuns, resentSteps, sendingSteps } from "../support/mirror-costs.js";

/** The mirror of the cache with its real graphs on the CPU; test/integration/runtime does the same on a device. */

/** Difference of log-probabilities. */
const TOLERANCE = 1e-4;

/** Texts of all kinds that join and leave, because few sequences run at once; and given answers. */
async function texts(golden: GoldenDecoder, session: Session) {
  const decoder = new Decoder(session, golden.decoder.shape);
  const engine = new Engine(decoder, { maxSequences: 12, maxBatchedTokens: 40 });
  const jobs = golden.prompts.flatMap((prompt, index) =>
    [golden.context(index, { perceptionSees: "itself" }), golden.context(index), {}].map((context, kind) => {
      const options: GenerationOptions[] = [
        { maxNewTokens: 9 },
        { beams: 3, maxNewTokens: 7 },
        { temperature: 1, seed: kind, numReturnSequences: 2, maxNewTokens: 5 },
      ];
      const chosen = options[(index + kind) % 3] ?? {};
      return writingJob(context, prompt.slice(0, 1 + ((index * 5 + kind * 3) % prompt.length)), chosen, []);
    }),
  );
  const answers = [[5], [7, 9, 11], [20, 21]];
  const scores = new ScoringRequest(golden.context(0), golden.prompts[0] ?? [], answers);
  await Promise.all([...jobs.map(({ job }) => engine.run(job)), engine.run(scores)]);
  for (let turn = 0; turn < 3; turn++) await setImmediate();
  const hypotheses = jobs.map((job) => job.hypotheses());
  return {
    tokens: hypotheses.map((found) => found.map(({ tokens }) => tokens)),
    logProbs: [...hypotheses.flat().flatMap(({ logProbs }) => logProbs), ...scores.logProbs.flat()],
  };
}

for (const name of ["opt-causal-perception", "llama-shared-1token"]) {
  describe(`a mirror of the cache: ${name}`, () => {
    let golden: GoldenDecoder;
    let holding: HoldingOnCpu;
    before(async () => {
      golden = await openGolden(name, "cpu");
      holding = holdingOnCpu(golden.session);
    });
    after(() => golden.close());

    it("changes nothing about texts that join and leave, beams and given answers", async () => {
      const [expected, found] = [await texts(golden, golden.session), await texts(golden, holding)];
      assert.deepEqual(found.tokens, expected.tokens);
      for (const [at, logProb] of found.logProbs.entries()) {
        const difference = Math.abs(logProb - (expected.logProbs[at] ?? Number.NaN));
        assert.ok(difference < TOLERANCE, `log-probability ${at} differs by ${difference}`);
      }
    });

    it("is freed when the decoder is idle", () => {
      assert.ok(holding.kept.length > 100);
      assert.deepEqual(new Set(holding.kept.map(({ held }) => held.location)), new Set(["none"]));
    });
  });
}

describe("what a decoder with a mirror sends", () => {
  it("is the cache once, and again when it grows, but not for beams or because sequences leave", async () => {
    const golden = await openGolden("llama-shared-1token", "cpu");
    const { shape } = golden.decoder;
    const bytes = blockBytes(shape);
    const expected = await mirrorRuns(new ClockedSession(golden.session), shape);
    const found = await mirrorRuns(new ClockedSession(holdingOnCpu(golden.session)), shape);
    await golden.close();
    for (const kind of ["long", "beams", "leaving"] as const) {
      assert.deepEqual(found[kind].tokens, expected[kind].tokens, kind);
      const { resent, largestShare } = resentSteps(found[kind], bytes);
      assert.deepEqual(resent, sendingSteps[kind], kind);
      assert.ok(largestShare < 0.05, `${kind}: ${largestShare}`);
      assert.ok(Math.min(...expected[kind].sent.slice(0, 2)) >= bytes, "without a mirror, the cache is sent");
    }
  });
});
