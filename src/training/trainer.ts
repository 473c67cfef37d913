import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Adapter, adapterShapes } from "../adapter/adapter.js";
import { writeAdapter } from "../adapter/adapter-file.js";
import { gradientName } from "../autodiff/gradient.js";
import { EpalmError } from "../errors.js";
import { GraphBuilder } from "../graph/builder.js";
import { writeOnnx } from "../graph/onnx-writer.js";
import { adapterWidths, type ModelFolder } from "../model/model-folder.js";
import { openSession, type Session } from "../runtime/session.js";
import type { Tensor } from "../tensor/tensor.js";
import { AdamW, type StepSize } from "./adamw.js";
import type { TrainingConfig } from "./config.js";
import { frozenDecoder } from "./frozen-decoder.js";
import type { PaddedTexts } from "./padded-batch.js";
import { readRunState, writeRunState } from "./run-state.js";
import { learningRateShare, type Schedule } from "./schedule.js";
import { trainingFeeds } from "./training-batch.js";
import { trainingGraph } from "./training-graph.js";

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
  readonly config: TrainingConfig;
  readonly model: ModelFolder;
  readonly batches: BatchSource;
  /** What training starts from where there is no checkpoint. */
  readonly initial: Adapter;
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
  const session = await openTrainingSession(run);
  try {
    return await new Trainer(run, session).run();
  } finally {
    await session.close();
  }
}

async function openTrainingSession({ config, model, initial }: TrainingRun): Promise<Session> {
  const g = new GraphBuilder("training");
  const graph = trainingGraph(g, frozenDecoder(model, g), {
    settings: initial.settings,
    states: model.manifest.encoder,
    trained: adapterShapes(initial.settings, adapterWidths(model.manifest)),
    labelSmoothing: config.loss.labelSmoothing,
  });
  const path = join(config.output, "graph", "training.onnx");
  writeOnnx(graph, path);
  return openSession(path);
}

class Trainer {
  readonly #run: TrainingRun;
  readonly #session: Session;
  readonly #weights: Map<string, Tensor>;
  readonly #optimizer: AdamW;
  readonly #schedule: Schedule;
  readonly #stepsPerEpoch: number;

  constructor(run: TrainingRun, session: Session) {
    this.#run = run;
    this.#session = session;
    const { config, batches, initial, fingerprint } = run;
    this.#stepsPerEpoch = Math.ceil(batches.batchesPerEpoch / config.accumulation);
    this.#schedule = {
      steps: config.epochs * this.#stepsPerEpoch,
      warmupSteps: Math.round(config.schedule.warmupEpochs * this.#stepsPerEpoch),
      startShare: config.schedule.startShare,
      endShare: config.schedule.endShare,
    };
    const state = readRunState(join(config.output, CHECKPOINT_FILE), fingerprint);
    this.#weights = new Map(
      Array.from(state?.weights ?? initial.tensors, ([name, tensor]) => [
        name,
        { ...tensor, data: tensor.data.slice() },
      ]),
    );
    const { beta1, beta2, epsilon } = config.optimizer;
    this.#optimizer = new AdamW(
      { beta1, beta2, epsilon },
      state ? { steps: state.step, moments: state.moments } : undefined,
    );
  }

  async run(): Promise<Adapter> {
    const { config, onEpoch, signal } = this.#run;
    while (this.#optimizer.steps < this.#schedule.steps) {
      if (signal?.aborted) {
        this.#checkpoint();
        throw new EpalmError("aborted", "training was stopped; it goes on from its checkpoint");
      }
      await this.#step();
      const done = this.#optimizer.steps;
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
    const step = this.#optimizer.steps;
    const epoch = Math.floor(step / this.#stepsPerEpoch);
    const first = (step % this.#stepsPerEpoch) * config.accumulation;
    const last = Math.min(first + config.accumulation, batches.batchesPerEpoch);
    const gradients = new Map(
      Array.from(this.#weights, ([name, { data }]) => [name, new Float32Array(data.length)]),
    );
    const sums = { loss: 0, tokenLoss: 0, tokens: 0, examples: 0 };
    for (let index = first; index < last; index++) {
      await this.#accumulate(await batches.batch(epoch, index), 1 / (last - first), gradients, sums);
    }
    const gradientNorm = clip(gradients, config.optimizer.clipNorm);
    const share = learningRateShare(this.#schedule, step);
    this.#optimizer.step(
      this.#weights,
      (name) => gradients.get(name) ?? new Float32Array(),
      (name) => this.#stepSize(name, share),
    );
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
    gradients: ReadonlyMap<string, Float32Array>,
    sums: { loss: number; tokenLoss: number; tokens: number; examples: number },
  ): Promise<void> {
    const { loss } = this.#run.config;
    const { promptLength, perceptionSees } = this.#run.initial.settings;
    const [batch = 1] = texts.ids.shape;
    const weight = (loss.scale * share) / batch;
    const feeds = trainingFeeds(texts, states, promptLength, perceptionSees, {
      weightOf: (row, place) => (loss.on === "answer" && place < (answerStarts[row] ?? 0) ? 0 : weight),
    });
    // Sessions may keep what they were given, and weights change in place: each run gets new tensors.
    const trained = Object.fromEntries(Array.from(this.#weights, ([name, tensor]) => [name, { ...tensor }]));
    const names = Array.from(gradients.keys());
    const results = await this.#session.run({ ...feeds, ...trained }, [
      "loss",
      "token_loss",
      ...names.map(gradientName),
    ]);
    for (const [name, sum] of gradients) {
      const part = results[gradientName(name)]?.data as Float32Array;
      for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (part[i] as number);
    }
    const tokenLosses = results.token_loss?.data as Float32Array;
    sums.loss += Number(results.loss?.data[0]);
    sums.tokenLoss += tokenLosses.reduce((total, value) => total + value, 0);
    sums.tokens += tokenLosses.length;
    sums.examples += batch;
    if (!Number.isFinite(sums.loss)) {
      throw new EpalmError(
        "internal",
        `the loss is ${sums.loss} in step ${this.#optimizer.steps + 1}: lower the learning rate, or clip`,
      );
    }
  }

  #stepSize(name: string, share: number): StepSize {
    const { learningRate, promptLearningRate = learningRate, weightDecay } = this.#run.config.optimizer;
    const rate = name.startsWith("connector.") ? learningRate : promptLearningRate;
    return { learningRate: rate * share, weightDecay };
  }

  #adapter(): Adapter {
    return { settings: this.#run.initial.settings, tensors: this.#weights };
  }

  #checkpoint(): void {
    writeRunState(join(this.#run.config.output, CHECKPOINT_FILE), {
      step: this.#optimizer.steps,
      fingerprint: this.#run.fingerprint,
      weights: this.#weights,
      moments: this.#optimizer.moments,
    });
  }
}

/** Scales gradients down to a norm, over all tensors; returns the norm they had. */
function clip(gradients: ReadonlyMap<string, Float32Array>, limit: number | undefined): number {
  let squares = 0;
  for (const data of gradients.values()) for (const value of data) squares += value * value;
  const norm = Math.sqrt(squares);
  if (limit === undefined || norm <= limit) return norm;
  for (const data of gradients.values()) {
    for (let i = 0; i < data.length; i++) data[i] = ((data[i] as number) * limit) / norm;
  }
  return norm;
}
