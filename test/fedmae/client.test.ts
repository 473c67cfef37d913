import assert from "node:assert/strict";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { type ClientTask, trainLocally } from "../../src/fedmae/client.js";
import { maeConfigOf } from "../../src/fedmae/config.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { initialMae } from "../../src/training/encoder/initial-mae.js";
import { drawStripes, temporaryFolder, tinyConfig } from "../support/tiny-clients.js";

const folder = temporaryFolder();
const images = [0, 1, 2, 3].map((index) => join(folder, `${index}.png`));

function task(changes: Partial<ClientTask["settings"]> = {}, trained?: readonly string[]): ClientTask {
  const settings = tinyConfig({ clients: { path: folder, count: 1 } });
  const config = maeConfigOf(settings, 1);
  const weights = initialMae(config, 0);
  const all = Array.from(weights.keys()).filter((name) => !name.endsWith("pos_embed"));
  return {
    config,
    weights,
    trained: trained ?? all,
    settings: { ...settings, localEpochs: 6, batchSize: 2, ...changes },
    round: 0,
    rounds: 1,
    seed: 4,
  };
}

/** Distance of weights from those that the server sent. */
function distance(weights: ReadonlyMap<string, Tensor>, start: ReadonlyMap<string, Tensor>): number {
  let squares = 0;
  for (const [name, { data }] of weights) {
    const from = start.get(name)?.data ?? [];
    data.forEach((value: number | bigint, at: number) => {
      squares += (Number(value) - Number(from[at])) ** 2;
    });
  }
  return Math.sqrt(squares);
}

describe("a client", () => {
  before(() => drawStripes(folder, 4, "across"));

  it("learns from its own images without changing the tensors that it was sent", async () => {
    const given = task();
    const before = new Map(Array.from(given.weights, ([name, { data }]) => [name, data.slice()]));
    const update = await trainLocally(given, images);
    assert.equal(update.examples, 4);
    assert.ok(Math.abs(update.meanPatchLoss - 1) < 0.1);
    assert.ok(distance(update.weights, given.weights) > 0.1);
    for (const [name, { data }] of given.weights) assert.deepEqual(data, before.get(name), name);
  });

  it("returns only the trained tensors", async () => {
    const names = ["decoder_pred.bias", "decoder_embed.weight", "norm.weight", "patch_embed.proj.bias"];
    const { weights } = await trainLocally(task({}, names), images);
    assert.deepEqual(Array.from(weights.keys()).sort(), names.sort());
  });

  it("returns the same update for the same seed", async () => {
    const weights = async (seed: number) => (await trainLocally({ ...task(), seed }, images)).weights;
    assert.deepEqual(await weights(1), await weights(1));
    assert.notDeepEqual(await weights(1), await weights(2));
  });

  it("stays closer to the server's weights with a stronger proximal term", async () => {
    const distances: number[] = [];
    for (const proximal of [0, 1, 100]) {
      const given = task({ proximal });
      distances.push(distance((await trainLocally(given, images)).weights, given.weights));
    }
    assert.deepEqual(
      distances.toSorted((a, b) => b - a),
      distances,
    );
    assert.ok((distances[2] ?? 0) < (distances[0] ?? 0) * 0.8, distances.join(" "));
  });

  it("fails if its loss is NaN or infinite", async () => {
    const { optimizer } = task().settings;
    const wild = task({ optimizer: { ...optimizer, learningRate: 1e30 } });
    await assert.rejects(trainLocally(wild, images), { code: "diverged" });
  });
});
