import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { encoderInputs } from "../../backbones/encoder-graph.js";
import { weightsInMemory } from "../../backbones/weights-in-memory.js";
import { writeOnnx } from "../../graph/onnx-writer.js";
import type { Feeds } from "../../runtime/session.js";
import { floats, type Tensor } from "../../tensor/tensor.js";
import type { StepSize } from "../adamw.js";
import type { LabelledBatch } from "../data/labelled-batches.js";
import { fit } from "../fit.js";
import { readRunState, readTrainedWeights } from "../run-state.js";
import { learningRateShare } from "../schedule.js";
import { tensorsNamed, WeightTraining } from "../weight-training.js";
import { type Classes, countRight, initialHeads, isHead, labelFeeds } from "./attributes.js";
import {
  type ClassifierGraph,
  classifierGraph,
  type EncoderConfig,
  type ExtraHead,
} from "./classifier-graph.js";
import { writeEncoderFiles } from "./encoder-folder.js";
import { countRightPatches, type PatchTargets } from "./region-targets.js";

export interface EncoderTrainingOptions {
  /** Folder of the encoder, in the form of a public checkpoint, and of the run's own checkpoint and graph. */
  readonly output: string;
  readonly config: EncoderConfig;
  /** The public `preprocessor_config.json`: how a medium becomes the encoder's input. */
  readonly preprocessor: unknown;
  /** All tensors of the encoder, by their published names. */
  readonly weights: ReadonlyMap<string, Tensor>;
  /** Tensors of heads to start from; the others are random. */
  readonly heads?: ReadonlyMap<string, Tensor> | undefined;
  /** Whether the heads are written beside the encoder's tensors. */
  readonly writeHeads: boolean;
  /** Labels by attribute of examples. */
  readonly classes: Classes;
  /** Labels by attribute of patches. Default: patches are not classified. */
  readonly patchClasses?: Classes | undefined;
  readonly extraHead?: ExtraHead | undefined;
  /** How many of the last blocks are trained, with the norm behind them. Default: all, and the embedding. */
  readonly trainedBlocks?: number | undefined;
  /** Positions that stay as they are, as those of a masked auto-encoder. */
  readonly fixedPositions: boolean;
  readonly labelSmoothing: number;
  readonly optimizer: EncoderOptimizer;
  readonly steps: number;
  /** The batches of the steps after the first `done` ones. */
  readonly batches: (done: number) => AsyncIterable<LabelledBatch>;
  /** By name. */
  readonly tests: Readonly<Record<string, () => AsyncIterable<LabelledBatch>>>;
  /** The encoder is tested after so many steps each, and after the last one. */
  readonly testEvery: number;
  /** Tests the encoder once more if the run was complete already. Default: false. */
  readonly retest?: boolean | undefined;
  /** Encoder and checkpoint are written after so many steps each, and after the last one. */
  readonly checkpointEvery: number;
  /** Of the heads' first weights. */
  readonly seed: number;
  /** Hash of every input that affects the trained weights. */
  readonly fingerprint: string;
  readonly threads?: number | undefined;
}

export interface EncoderOptimizer {
  readonly learningRate: number;
  readonly warmupSteps: number;
  /** Share of the learning rate at the end of the run. */
  readonly endShare: number;
  /** Of matrices. */
  readonly weightDecay: number;
  readonly beta2: number;
  /** Norm of all gradients. Default: no clipping. */
  readonly clipNorm?: number | undefined;
  /** Share of the learning rate that each block has of the one above it (Clark et al. 2020). Default: 1. */
  readonly layerDecay?: number | undefined;
}

export interface EncoderTrainingHooks {
  readonly signal?: AbortSignal | undefined;
  /** Called when the signal has fired; may throw an error of its own. */
  readonly onAbort?: (() => void) | undefined;
  /** Called before the first step, with the steps that an earlier session has done. */
  readonly onStart?: ((done: number) => void) | undefined;
  readonly onStep?: ((step: number, loss: number, milliseconds: number) => void) | undefined;
  readonly onTest?: ((test: string, accuracies: Accuracies, step: number, loss: number) => void) | undefined;
  /** Called when encoder and checkpoint have been written. */
  readonly onCheckpoint?: ((step: number) => void) | undefined;
}

/**
 * Per attribute, the share of the examples that have it whose own label has the largest logit; per attribute of patches,
 * the share of the patches that show something.
 */
export type Accuracies = ReadonlyMap<string, number>;

const CHECKPOINT_FILE = "checkpoint.safetensors";

/**
 * Trains an encoder of any modality, or its last blocks, to classify what labelled examples show: a linear head per
 * attribute on the normed [CLS] state of its last block, and per attribute of patches on its normed patches. Writes a
 * folder that `epalm build` takes, and resumes from its checkpoint. Returns the accuracies of each test's last run.
 *
 * @throws invalid_option if the checkpoint belongs to another run; diverged; aborted
 */
export async function trainEncoder(
  options: EncoderTrainingOptions,
  hooks: EncoderTrainingHooks = {},
): Promise<ReadonlyMap<string, Accuracies>> {
  mkdirSync(options.output, { recursive: true });
  const run = await EncoderRun.open(options);
  try {
    return await run.train(hooks);
  } finally {
    await run.close();
  }
}

class EncoderRun {
  private constructor(
    private readonly options: EncoderTrainingOptions,
    private readonly patchClasses: Classes,
    private readonly classifier: ClassifierGraph,
    private readonly training: WeightTraining,
  ) {}

  static async open(options: EncoderTrainingOptions): Promise<EncoderRun> {
    const { output, config, classes, patchClasses = new Map(), extraHead, heads } = options;
    const counts = new Map(
      Array.from([...classes, ...patchClasses], ([name, labels]) => [name, labels.length]),
    );
    if (extraHead) counts.set(extraHead.name, extraHead.width);
    const weights = new Map(options.weights);
    for (const [name, tensor] of initialHeads(counts, Number(config.hidden_size), options.seed)) {
      weights.set(name, heads?.get(name) ?? tensor);
    }
    const classifier = classifierGraph(config, weightsInMemory(weights, "encoder"), {
      ...options,
      patchClasses,
      trainedBlocks: options.trainedBlocks ?? Number(config.num_hidden_layers),
    });
    const state = readRunState(join(output, CHECKPOINT_FILE), options.fingerprint);
    const path = join(output, "graph", "finetune.onnx");
    writeOnnx(classifier.graph, path);
    const training = await WeightTraining.open(
      path,
      {
        weights: tensorsNamed(weights, classifier.trained),
        optimizer: { beta1: 0.9, beta2: options.optimizer.beta2, epsilon: 1e-8 },
        state,
      },
      { threads: options.threads },
    );
    return new EncoderRun(options, patchClasses, classifier, training);
  }

  async train(hooks: EncoderTrainingHooks): Promise<ReadonlyMap<string, Accuracies>> {
    const { options, training } = this;
    const { steps, optimizer, testEvery, checkpointEvery, retest } = options;
    const schedule = { ...optimizer, steps, startShare: 0 };
    let latest: ReadonlyMap<string, Accuracies> = new Map();
    hooks.onStart?.(training.steps);
    await fit(training, {
      batches: (done) => this.#steps(done),
      prefetch: true,
      rateShare: (step) => learningRateShare(schedule, step),
      stepSize: (name, share) => this.#stepSize(name, share),
      clipNorm: optimizer.clipNorm,
      onStep: async ({ step, loss, milliseconds }) => {
        hooks.onStep?.(step, loss, milliseconds);
        const isLast = step === steps;
        if (step % testEvery === 0 || isLast) {
          latest = await this.#test((name, accuracies) => hooks.onTest?.(name, accuracies, step, loss));
        }
        if (step % checkpointEvery !== 0 && !isLast) return;
        this.#save();
        hooks.onCheckpoint?.(step);
      },
      signal: hooks.signal,
      onAbort: hooks.onAbort,
    });
    return latest.size === 0 && retest ? this.#test() : latest;
  }

  close(): Promise<void> {
    return this.training.close();
  }

  async *#steps(done: number): AsyncGenerator<readonly Feeds[]> {
    for await (const batch of this.options.batches(done)) yield [this.#feeds(batch)];
  }

  #feeds({ examples, input, patches }: LabelledBatch): Feeds {
    const { backbone } = this.classifier;
    const feeds: Record<string, Tensor> = {
      [encoderInputs[backbone.modality]]: {
        type: "float32",
        shape: [examples.length, ...backbone.inputShape],
        data: input,
      },
    };
    for (const attribute of this.patchClasses.keys()) {
      const { labels, weights } =
        patches?.get(attribute) ?? unknownPatches(examples.length * this.classifier.patches);
      feeds[`labels of ${attribute}`] = labels;
      feeds[`weights of ${attribute}`] = weights;
    }
    return {
      ...feeds,
      ...labelFeeds(this.options.classes, examples),
      ...this.options.extraHead?.feeds(examples),
    };
  }

  #stepSize(name: string, share: number): StepSize {
    const { learningRate, layerDecay = 1, weightDecay } = this.options.optimizer;
    const [, index] = /^blocks\.(\d+)\./.exec(name) ?? [];
    const blocks = Number(this.options.config.num_hidden_layers);
    const below = isHead(name) || name.startsWith("norm.") ? 0 : blocks - Number(index ?? -1);
    const isMatrix = name.endsWith(".weight") && !name.includes("norm");
    return {
      learningRate: learningRate * share * layerDecay ** below,
      weightDecay: isMatrix ? weightDecay : 0,
    };
  }

  async #test(
    onTest: (name: string, accuracies: Accuracies) => void = () => undefined,
  ): Promise<ReadonlyMap<string, Accuracies>> {
    const found = new Map<string, Accuracies>();
    for (const [name, batches] of Object.entries(this.options.tests)) {
      const accuracies = await this.#accuracies(batches());
      found.set(name, accuracies);
      onTest(name, accuracies);
    }
    return found;
  }

  async #accuracies(batches: AsyncIterable<LabelledBatch>): Promise<Accuracies> {
    const counts = new Map<string, { right: number; all: number }>();
    const add = (attribute: string, { right, all }: { right: number; all: number }) => {
      const before = counts.get(attribute) ?? { right: 0, all: 0 };
      if (all > 0) counts.set(attribute, { right: before.right + right, all: before.all + all });
    };
    for await (const batch of batches) {
      const asked = [...this.options.classes.keys(), ...(batch.patches?.keys() ?? [])];
      const results = await this.training.evaluate(
        this.#feeds(batch),
        asked.map((attribute) => `logits of ${attribute}`),
      );
      const logitsOf = (attribute: string) => floats(results[`logits of ${attribute}`]);
      for (const [attribute, labels] of this.options.classes) {
        add(attribute, countRight(logitsOf(attribute), labels, batch.examples, attribute));
      }
      for (const [attribute, targets] of batch.patches ?? []) {
        const labels = this.patchClasses.get(attribute) ?? [];
        add(attribute, countRightPatches(logitsOf(attribute), targets, labels));
      }
    }
    return new Map(Array.from(counts, ([attribute, { right, all }]) => [attribute, right / all]));
  }

  #save(): void {
    const { output, config, preprocessor, weights, writeHeads, fingerprint } = this.options;
    const trained = Array.from(this.training.weights).filter(([name]) => writeHeads || !isHead(name));
    writeEncoderFiles(output, config, preprocessor, new Map([...weights, ...trained]));
    this.training.save(join(output, CHECKPOINT_FILE), fingerprint);
  }
}

/** Every row of the graph's inputs has to be given, also where nothing is known. */
function unknownPatches(count: number): PatchTargets {
  return {
    labels: { type: "int64", shape: [count], data: new BigInt64Array(count) },
    weights: { type: "float32", shape: [count], data: new Float32Array(count) },
  };
}

/**
 * The heads that `trainEncoder` has trained, by tensor name, for another encoder to start from; none if the folder has no
 * checkpoint.
 */
export function trainedHeads(folder: string): Map<string, Tensor> {
  const weights = readTrainedWeights(join(folder, CHECKPOINT_FILE)) ?? new Map<string, Tensor>();
  return new Map(Array.from(weights).filter(([name]) => isHead(name)));
}
