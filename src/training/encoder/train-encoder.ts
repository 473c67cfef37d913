import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { encoderInputs } from "../../backbones/encoders/encoder-graph.js";
import { weightsInMemory } from "../../backbones/weights-in-memory.js";
import { pickEntries } from "../../core/at.js";
import { whileLocked } from "../../core/files/lock-path.js";
import { writeOnnx } from "../../graph/onnx-writer.js";
import type { Feeds } from "../../runtime/session.js";
import { floats, type Tensor } from "../../tensor/tensor.js";
import type { StepSize } from "../adamw.js";
import type { LabelledBatch } from "../data/labelled-batches.js";
import { fit } from "../fit.js";
import { type Fingerprint, readRunState, readTrainedWeights } from "../run-state.js";
import { learningRateShare } from "../schedule.js";
import { WeightTraining } from "../weight-training.js";
import { countRight, initialHeads, isHead, labelFeeds } from "./attributes.js";
import { type ClassifierGraph, type ClassifierOptions, classifierGraph } from "./classifier-graph.js";
import { writeEncoderFiles } from "./encoder-folder.js";
import { countRightPatches, type PatchTargets } from "./region-targets.js";

/** Options of `trainEncoder`. */
export interface EncoderTrainingOptions extends ClassifierOptions, EncoderOptimizer {
  /** Folder of the encoder, in the layout of a public checkpoint, and of the run's own checkpoint and graph. */
  readonly output: string;
  /** Content of the public `preprocessor_config.json`: how media are converted to encoder inputs. */
  readonly preprocessor: unknown;
  /** All tensors of the encoder, by their published names. */
  readonly weights: ReadonlyMap<string, Tensor>;
  /** Initial tensors of heads; all others are random. */
  readonly heads?: ReadonlyMap<string, Tensor> | undefined;
  /** Whether the heads are written together with the encoder's tensors. */
  readonly writeHeads: boolean;
  readonly steps: number;
  /** The batches of all steps after the first `done` steps. */
  readonly batches: (done: number) => AsyncIterable<LabelledBatch>;
  /** Batches of each test, by name. The encoder is tested every `testEvery` steps and after the last step. */
  readonly tests: Readonly<Record<string, () => AsyncIterable<LabelledBatch>>>;
  readonly testEvery: number;
  /** Tests the encoder again if the run was already complete. Default: false. */
  readonly retest?: boolean | undefined;
  /** Number of steps after which encoder and checkpoint are written; also written after the last step. */
  readonly checkpointEvery: number;
  /** Seed of the heads' initial weights. */
  readonly seed: number;
  /** Everything that affects the trained weights. */
  readonly fingerprint: Fingerprint;
  readonly threads?: number | undefined;
}

export interface EncoderOptimizer {
  readonly learningRate: number;
  readonly warmupSteps: number;
  /** Fraction of the learning rate at the end of the run. */
  readonly endShare: number;
  /** Weight decay of matrices; all other tensors have none. */
  readonly weightDecay: number;
  readonly beta2: number;
  /** Maximum norm of all gradients together. Default: no clipping. */
  readonly clipNorm?: number | undefined;
  /** Ratio of each block's learning rate to that of the block above it (Clark et al. 2020). Default: 1. */
  readonly layerDecay?: number | undefined;
}

/** Callbacks of encoder training, and the signal that stops it. */
export interface EncoderTrainingHooks {
  readonly signal?: AbortSignal | undefined;
  /** Called when the signal has fired; may throw its own error. */
  readonly onAbort?: (() => void) | undefined;
  /** Called before the first step with the number of steps done by earlier sessions. */
  readonly onStart?: ((done: number) => void) | undefined;
  readonly onStep?: ((step: number, loss: number, milliseconds: number) => void) | undefined;
  readonly onTest?: ((test: string, accuracies: Accuracies, step: number, loss: number) => void) | undefined;
  /** Called when encoder and checkpoint have been written. */
  readonly onCheckpoint?: ((step: number) => void) | undefined;
}

/**
 * Accuracy per attribute, 0 to 1: the fraction of the examples with the attribute whose label has the largest logit.
 * For an attribute of patches, the patches inside regions count instead of the examples.
 */
export type Accuracies = ReadonlyMap<string, number>;

const CHECKPOINT_FILE = "checkpoint.safetensors";

/**
 * Trains an encoder of any modality, or its last blocks, to classify labelled examples, with one linear head per
 * attribute on the normed [CLS] state of the last block, and one per attribute of patches on the normed patches. Writes
 * a folder that `epalm build` takes, and resumes from its checkpoint. Returns the latest accuracies of each test.
 *
 * @throws invalid_option if the checkpoint belongs to another run; in_use if another process trains in the folder;
 * diverged; aborted
 *
 * @example
 * ```ts
 * import { type EncoderTrainingOptions, trainEncoder } from "epalm/fedmae";
 * declare const options: EncoderTrainingOptions;
 * const accuracies = await trainEncoder(options, { onStep: (step, loss) => console.log(step, loss) });
 * console.log(accuracies.get("test")?.get("colour"));
 * ```
 */
export function trainEncoder(
  options: EncoderTrainingOptions,
  hooks: EncoderTrainingHooks = {},
): Promise<ReadonlyMap<string, Accuracies>> {
  return whileLocked(options.output, () => trainAlone(options, hooks));
}

async function trainAlone(
  options: EncoderTrainingOptions,
  hooks: EncoderTrainingHooks,
): Promise<ReadonlyMap<string, Accuracies>> {
  const { output, steps, testEvery, checkpointEvery } = options;
  mkdirSync(output, { recursive: true });
  const { classifier, training } = await openTraining(options);
  const feedsOf = (batch: LabelledBatch) => classifierFeeds(options, classifier, batch);
  const schedule = { ...options, startShare: 0 };
  const latest = new Map<string, Accuracies>();
  const test = async (onTest?: (name: string, accuracies: Accuracies) => void) => {
    for (const [name, batches] of Object.entries(options.tests)) {
      const accuracies = await accuraciesOf(options, training, batches(), feedsOf);
      latest.set(name, accuracies);
      onTest?.(name, accuracies);
    }
  };
  try {
    hooks.onStart?.(training.steps);
    await fit(training, {
      async *batches(done) {
        for await (const batch of options.batches(done)) yield [feedsOf(batch)];
      },
      prefetch: true,
      rateShare: (step) => learningRateShare(schedule, step),
      stepSize: (name, share) => stepSize(options, name, share),
      clipNorm: options.clipNorm,
      async onStep({ step, loss, milliseconds }) {
        hooks.onStep?.(step, loss, milliseconds);
        const isLast = step === steps;
        if (step % testEvery === 0 || isLast) {
          await test((name, accuracies) => hooks.onTest?.(name, accuracies, step, loss));
        }
        if (step % checkpointEvery !== 0 && !isLast) return;
        writeTrained(options, training);
        hooks.onCheckpoint?.(step);
      },
      signal: hooks.signal,
      onAbort: hooks.onAbort,
    });
    if (options.retest && latest.size === 0) await test();
    return latest;
  } finally {
    await training.close();
  }
}

async function openTraining(
  options: EncoderTrainingOptions,
): Promise<{ classifier: ClassifierGraph; training: WeightTraining }> {
  const { output, config, classes, patchClasses = [], extraHead, heads, threads } = options;
  const counts = new Map(Array.from([...classes, ...patchClasses], ([name, labels]) => [name, labels.length]));
  if (extraHead) counts.set(extraHead.name, extraHead.width);
  const weights = new Map(options.weights);
  for (const [name, tensor] of initialHeads(counts, Number(config.hidden_size), options.seed)) {
    weights.set(name, heads?.get(name) ?? tensor);
  }
  const classifier = classifierGraph(weightsInMemory(weights, "encoder"), options);
  const state = readRunState(join(output, CHECKPOINT_FILE), options.fingerprint);
  const path = join(output, "graph", "finetune.onnx");
  writeOnnx(classifier.graph, path);
  const start = {
    weights: pickEntries(weights, classifier.trained),
    optimizer: { beta1: 0.9, beta2: options.beta2, epsilon: 1e-8 },
    state,
  };
  return { classifier, training: await WeightTraining.open(path, start, { threads }) };
}

function classifierFeeds(
  { classes, patchClasses, extraHead }: EncoderTrainingOptions,
  { backbone, patches: perExample }: ClassifierGraph,
  { examples, input, patches }: LabelledBatch,
): Feeds {
  const shape = [examples.length, ...backbone.inputShape];
  const feeds: Record<string, Tensor> = {
    [encoderInputs[backbone.modality]]: { type: "float32", shape, data: input },
    ...labelFeeds(classes, examples),
    ...extraHead?.feeds(examples),
  };
  for (const attribute of patchClasses?.keys() ?? []) {
    const targets = patches?.get(attribute) ?? unknownPatches(examples.length * perExample);
    feeds[`labels of ${attribute}`] = targets.labels;
    feeds[`weights of ${attribute}`] = targets.weights;
  }
  return feeds;
}

/** The graph needs inputs for all patches, even if their labels are unknown. */
function unknownPatches(count: number): PatchTargets {
  return {
    labels: { type: "int64", shape: [count], data: new BigInt64Array(count) },
    weights: { type: "float32", shape: [count], data: new Float32Array(count) },
  };
}

function stepSize(
  { config, learningRate, layerDecay = 1, weightDecay }: EncoderTrainingOptions,
  name: string,
  share: number,
): StepSize {
  const [, index] = /^blocks\.(\d+)\./.exec(name) ?? [];
  const blocks = Number(config.num_hidden_layers);
  const below = isHead(name) || name.startsWith("norm.") ? 0 : blocks - Number(index ?? -1);
  const isMatrix = name.endsWith(".weight") && !name.includes("norm");
  return {
    learningRate: learningRate * share * layerDecay ** below,
    weightDecay: isMatrix ? weightDecay : 0,
  };
}

async function accuraciesOf(
  { classes, patchClasses = new Map() }: EncoderTrainingOptions,
  training: WeightTraining,
  batches: AsyncIterable<LabelledBatch>,
  feedsOf: (batch: LabelledBatch) => Feeds,
): Promise<Accuracies> {
  const counts = new Map<string, { right: number; all: number }>();
  const add = (attribute: string, { right, all }: { right: number; all: number }) => {
    const before = counts.get(attribute) ?? { right: 0, all: 0 };
    if (all > 0) counts.set(attribute, { right: before.right + right, all: before.all + all });
  };
  for await (const batch of batches) {
    const asked = [...classes.keys(), ...(batch.patches?.keys() ?? [])];
    const outputs = asked.map((attribute) => `logits of ${attribute}`);
    const results = await training.evaluate(feedsOf(batch), outputs);
    const logitsOf = (attribute: string) => floats(results[`logits of ${attribute}`]);
    for (const [attribute, labels] of classes) {
      add(attribute, countRight(logitsOf(attribute), labels, batch.examples, attribute));
    }
    for (const [attribute, targets] of batch.patches ?? []) {
      const labels = patchClasses.get(attribute) ?? [];
      add(attribute, countRightPatches(logitsOf(attribute), targets, labels));
    }
  }
  return new Map(Array.from(counts, ([attribute, { right, all }]) => [attribute, right / all]));
}

function writeTrained(options: EncoderTrainingOptions, training: WeightTraining): void {
  const { output, config, preprocessor, weights, writeHeads, fingerprint } = options;
  const trained = Array.from(training.weights).filter(([name]) => writeHeads || !isHead(name));
  writeEncoderFiles(output, config, preprocessor, new Map([...weights, ...trained]));
  training.save(join(output, CHECKPOINT_FILE), fingerprint);
}

/**
 * The head tensors that `trainEncoder` has trained, by name, from which another encoder can start. Empty if the folder
 * has no checkpoint.
 */
export function trainedHeads(folder: string): Map<string, Tensor> {
  const weights = readTrainedWeights(join(folder, CHECKPOINT_FILE)) ?? [];
  return new Map(Array.from(weights).filter(([name]) => isHead(name)));
}
