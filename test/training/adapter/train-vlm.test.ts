import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import sharp from "sharp";
import { load, loadAdapter, openModelFolder, readTrainingConfig, trainModel } from "../../../src/index.js";
import { floats } from "../../../src/tensor/tensor.js";
import { temporaryFolder } from "../../support/temporary-folder.js";
import { buildTinyVlm } from "../../support/tiny-vlm.js";
import { lossesOf, writeTrainingConfig } from "../../support/training-config.js";

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);

/** What the adapters of the tiny models are, with and without an MLP. */
const connectors = {
  smolvlm: { kind: "prefix", states: { pixelShuffle: 2 }, projection: "linear" },
  "llava-full-mistral": { kind: "prefix", projection: "mlp", activation: "gelu_pytorch_tanh" },
  "llava-next": { kind: "prefix", projection: "mlp", ending: true },
} as const;

function config(model: string, name: string, changes: object, adapter: object): string {
  return writeTrainingConfig(folder, name, {
    model,
    data: { train: { path: "train.jsonl" } },
    adapter: { name, connector: connectors[model as keyof typeof connectors], promptLength: 0, ...adapter },
    optimizer: { learningRate: 0.01, clipNorm: 1 },
    epochs: 3,
    batchSize: 2,
    ...changes,
  });
}

before(async () => {
  const lines: object[] = [];
  for (const [index, background] of ["white", "black", "white", "black"].entries()) {
    const image = sharp({ create: { width: 40 + index, height: 30, channels: 3, background } });
    await image.png().toFile(at(`${index}.png`));
    lines.push({ image: `${index}.png`, caption: index % 2 === 0 ? "a cat" : "a dog" });
  }
  writeFileSync(at("train.jsonl"), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
});

describe("an adapter that is trained on top of a vision-language model", () => {
  for (const model of Object.keys(connectors)) {
    it(`continues from the connector of the model: ${model}`, async () => {
      await buildTinyVlm(model, at(model));
      const initial = `${model}/adapters/vlm.safetensors`;
      const own = await loadAdapter(await openModelFolder(at(model)), "vlm");

      await trainModel(
        readTrainingConfig(
          config(
            model,
            `${model}-still`,
            { install: true, epochs: 1, optimizer: { learningRate: 1e-12 } },
            { initial },
          ),
        ),
      );
      const still = await loadAdapter(await openModelFolder(at(model)), `${model}-still`);
      for (const [tensor, { data }] of own.tensors) {
        const trained = floats(still.tensors.get(tensor));
        const difference = Math.max(
          ...Array.from(floats({ data }), (value, at) => Math.abs(value - Number(trained[at]))),
        );
        assert.ok(difference < 1e-6, `${tensor}: a rate of nearly 0 leaves the model's connector`);
      }

      await trainModel(readTrainingConfig(config(model, `${model}-mine`, { install: true }, { initial })));
      await trainModel(readTrainingConfig(config(model, `${model}-anew`, {}, {})));
      const [first, mine, anew] = [`${model}-still`, `${model}-mine`, `${model}-anew`].map((run) => lossesOf(at(run)));
      assert.equal(mine?.[0], first?.[0], "the first step has the loss of the model's own connector");
      assert.notEqual(anew?.[0], first?.[0]);
      // An epoch has two steps.
      const epoch = (losses: readonly number[] = []) => losses.reduce((sum, loss) => sum + loss, 0);
      assert.ok(epoch(mine?.slice(-2)) < epoch(mine?.slice(0, 2)), `${mine}`);

      const running = await load(at(model), { threads: 1 });
      try {
        const image = await running.encode(at("0.png"));
        const [before, after] = await Promise.all(
          ["vlm", `${model}-mine`].map((adapter) => image.caption({ adapter, maxNewTokens: 4 })),
        );
        assert.notDeepEqual(before?.texts[0]?.logProbs, after?.texts[0]?.logProbs);
      } finally {
        await running.close();
      }
    });
  }
});
