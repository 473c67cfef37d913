import { visiblePatches } from "../src/backbones/encoders/mae.js";
import { patchesPerSide } from "../src/backbones/encoders/vit.js";
import { weightsInMemory } from "../src/backbones/weights-in-memory.js";
import { pickEntries } from "../src/core/at.js";
import { randomStreams } from "../src/core/random.js";
import { fedMaeConfigSchema, maeConfigOf } from "../src/fedmae/config.js";
import { encodeOnnx } from "../src/graph/onnx-writer.js";
import type { Tensor } from "../src/tensor/tensor.js";
import { initialMae } from "../src/training/encoder/initial-mae.js";
import { maeGraph, maskFeeds, maskNoise } from "../src/training/encoder/mae-graph.js";
import { WeightTraining } from "../src/training/weight-training.js";
import { measureSteps, printAndExit } from "./measure-steps.js";
import type { FederatedSettings, StepCost } from "./training.js";

/** The process of a federated client in `npm run bench -- training`: some steps of a masked autoencoder, as JSON. */

async function measure({ batch, blocks, threads, warmups, rounds }: FederatedSettings): Promise<StepCost> {
  const { optimizer, ...config } = fedMaeConfigSchema.parse({
    ...{ output: ".", depth: 12, rounds: 1 },
    clients: [{ name: "client", path: "." }],
  });
  const mae = maeConfigOf({ ...config, optimizer }, blocks);
  const weights = initialMae(mae, 0);
  const { graph, trained } = maeGraph(mae, weightsInMemory(weights, "initial weights"));
  const training = await WeightTraining.open(
    encodeOnnx(graph),
    { weights: pickEntries(weights, trained), optimizer },
    { threads },
  );
  const [random = Math.random] = randomStreams(0, 1);
  const side = mae.image_size;
  const pixels: Tensor = {
    type: "float32",
    shape: [batch, 3, side, side],
    data: Float32Array.from({ length: batch * 3 * side * side }, () => 2 * random() - 1),
  };
  return measureSteps({ warmups, rounds }, async () => {
    const mask = maskNoise(random, batch, patchesPerSide(mae) ** 2);
    const before = performance.now();
    await training.add({ pixels, ...maskFeeds(mask, visiblePatches(mae)) });
    const inside = performance.now() - before;
    training.step({ sizeOf: () => ({ learningRate: 1e-4, weightDecay: optimizer.weightDecay }) });
    return inside;
  });
}

await printAndExit(() => measure(JSON.parse(process.argv[2] ?? "")));
