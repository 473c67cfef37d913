import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import sharp from "sharp";
import { buildModel, type Evaluation, evaluateModel, load, readEvaluationData } from "../../../src/index.js";

const golden = "test/fixtures/goldens/opt-6states-mlp10";
const temporary = mkdtempSync(join(tmpdir(), "epalm-scores-"));
after(() => rmSync(temporary, { recursive: true, force: true }));

describe("the evaluation of a model", () => {
  for (const precision of ["int8", "fp32"] as const) {
    const isBatched = precision === "fp32";
    const title = isBatched ? "computes several examples together" : "computes one example at a time by default";
    it(`${title} if the decoder is in ${precision}`, async () => {
      const lines: string[] = [];
      for (let index = 0; index < 6; index++) {
        const background = { r: 40 * index, g: 90, b: 200 - 30 * index };
        const image = sharp({ create: { width: 20, height: 20, channels: 3, background } });
        await image.png().toFile(join(temporary, `${index}.png`));
        lines.push(JSON.stringify({ image: `${index}.png`, caption: "a square" }));
      }
      writeFileSync(join(temporary, "data.jsonl"), lines.join("\n"));
      const path = join(temporary, precision);
      await buildModel({
        encoder: { path: join(golden, "encoder"), given: "encoder", precision, preprocessing: "source" },
        decoder: { path: join(golden, "decoder"), given: "decoder", precision },
        adapters: [{ path: join(golden, "adapter.pth"), name: "a", tasks: ["caption"] }],
        output: path,
      });
      const model = await load(path, { threads: 1 });
      try {
        const { examples } = await readEvaluationData({ path: join(temporary, "data.jsonl") });
        const generation = { maxNewTokens: 6, beams: 1 };
        const first = await evaluateModel(model, examples, { generation });
        const { decoder } = await model.counts();
        assert.equal(decoder.sequences > decoder.steps, isBatched);
        // In fp32, probabilities depend on the batch in the last digits.
        const texts = ({ predictions }: Evaluation) => predictions.map(({ prediction }) => prediction);
        assert.deepEqual(texts(await evaluateModel(model, examples, { generation })), texts(first));
        await evaluateModel(model, examples, { generation, concurrency: 6 });
        const { decoder: together } = await model.counts();
        assert.ok(together.sequences - 2 * decoder.sequences > together.steps - 2 * decoder.steps);
      } finally {
        await model.close();
      }
    });
  }
});
