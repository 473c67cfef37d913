import { type MaeConfig, visiblePatches } from "../backbones/encoders/mae.js";
import { patchesPerSide } from "../backbones/encoders/vit.js";
import { weightsInMemory } from "../backbones/weights-in-memory.js";
import { pickEntries } from "../core/at.js";
import { excerpt, unexpected } from "../core/errors.js";
import { randomStreams } from "../core/random.js";
import { encodeOnnx } from "../graph/onnx-writer.js";
import type { Tensor } from "../tensor/tensor.js";
import { ImageBatches } from "../training/data/image-batches.js";
import { maeGraph, maskFeeds, maskNoise } from "../training/encoder/mae-graph.js";
import { fit } from "../training/fit.js";
import { learningRateShare } from "../training/schedule.js";
import { WeightTraining } from "../training/weight-training.js";
import type { FedMaeConfig } from "./config.js";

/** Everything that a client receives for a round; it reads its own images itself. */
export interface ClientTask {
  readonly config: MaeConfig;
  /** All tensors of the model, under published names. */
  readonly weights: ReadonlyMap<string, Tensor>;
  /** Names of the trained tensors; only these are returned. */
  readonly trained: readonly string[];
  readonly settings: Pick<
    FedMaeConfig,
    "localEpochs" | "batchSize" | "optimizer" | "proximal" | "leastArea" | "mirror"
  >;
  /** Number of the round from 0, and number of rounds; they determine the learning rate. */
  readonly round: number;
  readonly rounds: number;
  /** Seed of the order, crops and masks of this round. */
  readonly seed: number;
}

/** Result of a client's round. */
export interface ClientUpdate {
  readonly weights: ReadonlyMap<string, Tensor>;
  /** Number of images: the weight of this update in the average. */
  readonly examples: number;
  /** Mean losses over the round: of the model, and of predicting each patch's mean. */
  readonly loss: number;
  readonly meanPatchLoss: number;
  /** Computing time, without the start of the process. */
  readonly milliseconds: number;
}

/** The update of a client, and its cost. */
export interface MeasuredUpdate extends ClientUpdate {
  /** Peak resident memory of the client's process. */
  readonly peakBytes: number;
  /** Bytes of the weights sent to the client, and of those returned. */
  readonly bytesDown: number;
  readonly bytesUp: number;
}

/**
 * Trains on a client's own images, starting from the server's weights.
 *
 * @throws invalid_checkpoint, unsupported_architecture if the task's tensors are not those of its model; diverged;
 * errors of decoding
 */
export async function trainLocally(task: ClientTask, images: readonly string[]): Promise<ClientUpdate> {
  const { config, settings, round, rounds, seed } = task;
  const isTrained = new Set(task.trained);
  const weights = weightsInMemory(task.weights, "weights of the server");
  const { graph, trained } = maeGraph(config, weights, (name) => isTrained.has(name));
  weights.finish();
  const unknown = task.trained.find((name) => !trained.includes(name));
  if (unknown !== undefined) {
    throw unexpected("invalid_checkpoint", "trained", "names of the model's tensors", excerpt(unknown));
  }
  const start = pickEntries(task.weights, trained);
  const training = await WeightTraining.open(
    encodeOnnx(graph),
    { weights: start, optimizer: settings.optimizer },
    { threads: 1 },
  );
  const batches = new ImageBatches(images, {
    imageSize: config.image_size,
    batchSize: settings.batchSize,
    augment: settings,
  });
  const steps = settings.localEpochs * batches.batchesPerEpoch;
  const schedule = {
    steps: rounds * steps,
    warmupSteps: settings.optimizer.warmupRounds * steps,
    startShare: 0,
    endShare: 0,
  };
  const [noise = Math.random] = randomStreams(seed, 3).slice(2);
  const sums = { loss: 0, meanPatchLoss: 0, milliseconds: 0 };
  let started = 0;
  await fit(training, {
    async *batches() {
      for (let epoch = 0; epoch < settings.localEpochs; epoch++) {
        for await (const { pixels } of batches.epoch(seed + epoch)) {
          started = performance.now();
          const mask = maskNoise(noise, pixels.shape[0] ?? 0, patchesPerSide(config) ** 2);
          yield [{ pixels, ...maskFeeds(mask, visiblePatches(config)) }];
        }
      }
    },
    outputs: ["mean_patch_loss"],
    rateShare: (step) => learningRateShare(schedule, round * steps + step),
    stepSize: (name, share) => ({
      learningRate: settings.optimizer.learningRate * share,
      weightDecay: decays(start.get(name)) ? settings.optimizer.weightDecay : 0,
    }),
    clipNorm: settings.optimizer.clipNorm,
    onGradients() {
      if (settings.proximal > 0) training.pullTowards(start, settings.proximal);
    },
    onStep({ loss, batches: [batch] }) {
      sums.loss += loss;
      sums.meanPatchLoss += Number(batch?.outputs.mean_patch_loss?.data[0]);
      sums.milliseconds += performance.now() - started;
    },
  });
  await training.close();
  return {
    weights: training.weights,
    examples: images.length,
    loss: sums.loss / steps,
    meanPatchLoss: sums.meanPatchLoss / steps,
    milliseconds: sums.milliseconds,
  };
}

/** As published, tensors with one axis (biases and norms) have no weight decay. */
function decays(tensor: Tensor | undefined): boolean {
  return (tensor?.shape.length ?? 0) > 1;
}

/** Bytes of the numbers of tensors. */
export function byteCount(tensors: ReadonlyMap<string, Tensor>): number {
  return Array.from(tensors.values(), ({ data }) => data.byteLength).reduce((sum, bytes) => sum + bytes, 0);
}
