import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Adapter, adapterShapes } from "../../adapter/adapter.js";
import { writeAdapter } from "../../adapter/adapter-file.js";
import { EpalmError } from "../../core/errors.js";
import type { Modality } from "../../core/modality.js";
import { GraphBuilder } from "../../graph/builder.js";
import { writeOnnx } from "../../graph/onnx-writer.js";
import { adapterWidths, backbonesOf, type ModelFolder } from "../../model/model-folder.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { StepSize } from "../adamw.js";
import { readRunState, writeRunState } from "../run-state.js";
import { learningRateShare, type Schedule } from "../schedule.js";
import { WeightTraining } from "../weight-training.js";
import type { TrainingConfig } from "./config.js";
import { frozenDecoder } from "./frozen-decoder.js";
import type { PaddedTexts } from "./padded-batch.js";
import { trainingFeeds } from "./training-batch.js";
import { trainingGraph } from "./training-graph.js";
import type { Whitening } from "./whitening.js";

/** One batch of a training set, ready to be fed. */
export interface TrainingBatch {
  readonly texts: PaddedTexts;
  /** [B, depth, dv] */
  readonly states: Tensor;
  /** Per row: the first place of the text that counts where the loss is on the answer only. */
  readonly answerStarts: readonly number[];
}

/** Batches by number: the same for the same numbers, so that a run can go on from any step. */
export interface BatchSource {
  readonly batchesPerEpoch: number;
  batch(epoch: number, index: number): Promise<TrainingBatch>;
}

/** What one optimizer step did. */
export interface StepReport {
  /** Steps done with this one, and in all. */
  readonly step: number;
  readonly steps: number;
  readonly epoch: number;
  /** As it is minimised: scaled, mean over the batch. */
  readonly loss: number;
  /** Cross-entropy per scored token. */
  readonly tokenLoss: number;
  readonly learningRate: number;
  readonly gradientNorm: number;
  readonly examples: number;
  readonly milliseconds: number;
}

export interface TrainingRun {
  /** Of the states that the adapter takes. */
  readonly modality: Modality;
  readonly config: TrainingConfig;
  readonly model: ModelFolder;
  readonly batches: BatchSource;
  /** What training starts from where there is no checkpoint, for whitened states where there is a whitening. */
  readonly initial: Adapter;
  readonly whitening?: Whitening | undefined;
  /** Says which run a checkpoint belongs to. */
  readonly fingerprint: string;
  readonly signal?: AbortSignal | undefined;
  readonly onStep?: ((report: StepReport) => void) | undefined;
  /** Called when an epoch is over, with the adapter as it is then; its checkpoint is written afterwards. */
  readonly onEpoch?: ((epoch: number, adapter: Adapter) => Promise<void>) | undefined;
}

export const CHECKPOINT_FILE = "checkpoint.safetensors";
export const ADAPTER_FILE = "adapter.safetensors";

/**
 * Trains an adapter and writes it to the output folder. A run that was stopped, however, goes on from its last
 * checkpoint and gives the same weights, bit for bit, as one that was not.
 */
export async function train(run: TrainingRun): Promise<Adapter> {
  const { output } = run.config;
  mkdirSync(output, { recursive: true });
  const { beta1, beta2, epsilon } = run.config.optimizer;
  const state = readRunState(join(output, CHECKPOINT_FILE), run.fingerprint);
  const training = await WeightTraining.open(writeTrainingGraph(run), {
    weights: state?.weights ?? run.initial.tensors,
    optimizer: { beta1, beta2, epsilon },
    state,
  });
  try {
    return await new Trainer(run, training).run();
  } finally {
    await training.close();
  }
}

function writeTrainingGraph({ config, model, modality, initial }: TrainingRun): string {
  const g = new GraphBuilder("training");
  const backbones = backbonesOf(model.manifest, modality);
  const graph = trainingGraph(g, frozenDecoder(model, g), {
    settings: initial.settings,
    states: backbones.encoder,
    trained: adapterShapes(initial.settings, adapterWidths(backbones)),
    labelSmoothing: config.loss.labelSmoothing,
  });
  const path = join(config.output, "graph", "training.onnx");
  writeOnnx(graph, path);
  return path;
}

class Trainer {
  readonly #run: TrainingRun;
  readonly #training: WeightTraining;
  readonly #schedule: Schedule;
  readonly #stepsPerEpoch: number;

  constructor(run: TrainingRun, training: WeightTraining) {
    this.#run = run;
    this.#training = training;
    const { config, batches } = run;
    this.#stepsPerEpoch = Math.ceil(batches.batchesPerEpoch / config.accumulation);
    this.#schedule = {
      steps: config.epochs * this.#stepsPerEpoch,
      warmupSteps: Math.round(config.schedule.warmupEpochs * this.#stepsPerEpoch),
      startShare: config.schedule.startShare,
      endShare: config.schedule.endShare,
    };
  }

  async run(): Promise<Adapter> {
    const { config, onEpoch, signal } = this.#run;
    while (this.#training.steps < this.#schedule.steps) {
      if (signal?.aborted) {
        this.#checkpoint();
        throw new EpalmError("aborted", "training was stopped; it goes on from its checkpoint");
      }
      await this.#step();
      const done = this.#training.steps;
      const epochIsOver = done % this.#stepsPerEpoch === 0;
      if (epochIsOver) await onEpoch?.(done / this.#stepsPerEpoch, this.#adapter());
      if (epochIsOver || done % config.checkpointEvery === 0) this.#checkpoint();
    }
    writeAdapter(join(config.output, ADAPTER_FILE), this.#adapter());
    return this.#adapter();
  }

  async #step(): Promise<void> {
    const { config, batches, onStep } = this.#run;
    const started = performance.now();
    const step = this.#training.steps;
    const epoch = Math.floor(step / this.#stepsPerEpoch);
    const first = (step % this.#stepsPerEpoch) * config.accumulation;
    const last = Math.min(first + config.accumulation, batches.batchesPerEpoch);
    const sums = { loss: 0, tokenLoss: 0, tokens: 0, examples: 0 };
    for (let index = first; index < last; index++) {
      await this.#accumulate(await batches.batch(epoch, index), 1 / (last - first), sums);
    }
    const share = learningRateShare(this.#schedule, step);
    const gradientNorm = this.#training.step({
      clipNorm: config.optimizer.clipNorm,
      sizeOf: (name) => this.#stepSize(name, share),
    });
    onStep?.({
      step: step + 1,
      steps: this.#schedule.steps,
      epoch,
      loss: sums.loss,
      tokenLoss: sums.tokenLoss / Math.max(1, sums.tokens),
      learningRate: config.optimizer.learningRate * share,
      gradientNorm,
      examples: sums.examples,
      milliseconds: performance.now() - started,
    });
  }

  /** Adds a batch's gradients, weighted by its share of the step. */
  async #accumulate(
    { texts, states, answerStarts }: TrainingBatch,
    share: number,
    sums: { loss: number; tokenLoss: number; tokens: number; examples: number },
  ): Promise<void> {
    const { config, initial, whitening } = this.#run;
    const { loss } = config;
    const { promptLength, perceptionSees } = initial.settings;
    const [batch = 1] = texts.ids.shape;
    const weight = (loss.scale * share) / batch;
    const seen = whitening?.whitened(states) ?? states;
    const feeds = trainingFeeds(texts, seen, promptLength, perceptionSees, {
      weightOf: (row, place) => (loss.on === "answer" && place < (answerStarts[row] ?? 0) ? 0 : weight),
    });
    const results = await this.#training.add(feeds, ["token_loss"]);
    const tokenLosses = results.token_loss?.data as Float32Array;
    sums.loss += Number(results.loss?.data[0]);
    sums.tokenLoss += tokenLosses.reduce((total, value) => total + value, 0);
    sums.tokens += tokenLosses.length;
    sums.examples += batch;
  }

  #stepSize(name: string, share: number): StepSize {
    const { learningRate, promptLearningRate = learningRate, weightDecay } = this.#run.config.optimizer;
    const rate = name.startsWith("connector.") ? learningRate : promptLearningRate;
    return { learningRate: rate * share, weightDecay };
  }

  #adapter(): Adapter {
    const { initial, whitening } = this.#run;
    const trained = { settings: initial.settings, tensors: this.#training.weights };
    return whitening?.fromWhitened(trained) ?? trained;
  }

  #checkpoint(): void {
    writeRunState(join(this.#run.config.output, CHECKPOINT_FILE), {
      step: this.#training.steps,
      fingerprint: this.#run.fingerprint,
      weights: this.#training.weights,
      moments: this.#training.moments,
    });
  }
}
