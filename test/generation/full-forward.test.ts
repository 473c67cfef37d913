import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Engine } from "../../src/generation/engine.js";
import { type GoldenDecoder, goldens, openGolden, writingJob } from "../support/golden-decoder.js";
import { nextLogProbs } from "./full-forward.js";

/** Difference of log-probabilities between two orders of summation in float32. */
const TOLERANCE = 1e-4;

describe("greedy decoding with a cache", () => {
  for (const name of goldens) {
    describe(name, () => {
      let golden: GoldenDecoder;
      before(async () => {
        golden = await openGolden(name);
      });
      after(() => golden.close());

      const settings = [
        ["the adapter's own settings", {}],
        ["a slot whose injection ends early", { perceptionSees: "everything", startLayer: 1, endLayer: 3 }],
      ] as const;
      for (const [what, change] of settings) {
        it(`chooses the best token of a run over the whole text: ${what}`, async () => {
          const engine = new Engine(golden.decoder);
          for (const [index, prompt] of golden.prompts.entries()) {
            const context = golden.context(index, change);
            const { job, hypotheses } = writingJob(context, prompt, { maxNewTokens: 10 }, []);
            await engine.run(job);
            const [{ tokens, logProbs } = { tokens: [], logProbs: [] }] = hypotheses();
            assert.equal(tokens.length, 10);
            for (const [known, token] of tokens.entries()) {
              const text = [...prompt, ...tokens.slice(0, known)];
              const expected = await nextLogProbs(golden, golden.conditioning(index, change), text);
              const best = Math.max(...expected);
              const found = logProbs[known] ?? Number.NaN;
              assert.ok(Math.abs(found - best) < TOLERANCE, `token ${known}: ${found}, expected ${best}`);
              assert.equal(token, expected.indexOf(best));
            }
          }
        });
      }
    });
  }
});
