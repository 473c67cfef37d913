import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Adapter, adapterShapes } from "../../adapter/adapter.js";
import { writeAdapter } from "../../adapter/adapter-file.js";
import { dropoutOf } from "../../adapter/visual-connector.js";
import type { Device } from "../../core/device.js";
import { EpalmError } from "../../core/errors.js";
import type { Modality } from "../../core/modality.js";
import { randomStreams } from "../../core/random.js";
import { GraphBuilder } from "../../graph/builder.js";
import { writeOnnx } from "../../graph/onnx-writer.js";
import { plainProducts } from "../../graph/plain-products.js";
import { frozenDecoder } from "../../model/frozen-decoder.js";
import { adapterWidths, backbonesOf, type ModelFolder } from "../../model/model-folder.js";
import type { Feeds } from "../../runtime/session.js";
import { elementCount, floats, type Tensor } from "../../tensor/tensor.js";
import type { StepSize } from "../adamw.js";
import { fit } from "../fit.js";
import { type Fingerprint, readRunState } from "../run-state.js";
import { learningRateShare, type Schedule } from "../schedule.js";
import { WeightTraining } from "../weight-training.js";
import type { TrainingConfig } from "./config.js";
import type { PaddedTexts } from "./padded-batch.js";
import { trainingFeeds } from "./training-batch.js";
import { trainingGraph, trainingLayout } from "./training-graph.js";
import type { Whitening } from "./whitening.js";

/** One batch of a training set. */
export interface TrainingBatch {
  readonly texts: PaddedTexts;
  /** The encoder states that the connector takes: [B, depth, dv], or patch states [B, D, N, dv]. */
  readonly states: Tensor;
  /** Number of text tokens of each row before the place of its visual tokens. */
  readonly textBefore: readonly number[];
  /** Index of the first answer token of each row, from which tokens count if the loss is on the answer only. */
  readonly answerStarts: readonly number[];
}

/** Batches by epoch and index. They depend on nothing else, so that a run can resume from any step. */
export interface BatchSource {
  readonly batchesPerEpoch: number;
  batch(epoch: number, index: number): Promise<TrainingBatch>;
}

/** Report of one optimizer step. */
export interface StepReport {
  /** Steps done, including this one, and steps of the whole run. */
  readonly step: number;
  readonly steps: number;
  readonly epoch: number;
  /** The minimised loss: scaled, mean over the batch. */
  readonly loss: number;
  /** Cross-entropy per scored token. */
  readonly tokenLoss: number;
  readonly learningRate: number;
  readonly gradientNorm: number;
  readonly examples: number;
  readonly milliseconds: number;
}

export interface TrainingRun {
  /** Modality of the encoder whose states the adapter takes. */
  readonly modality: Modality;
  readonly config: TrainingConfig;
  readonly model: ModelFolder;
  readonly batches: BatchSource;
  /** Where training starts if there is no checkpoint; for whitened states if `whitening` is given. */
  readonly initial: Adapter;
  readonly whitening?: Whitening | undefined;
  /** Identifies the run that a checkpoint belongs to. */
  readonly fingerprint: Fingerprint;
  /** Called before each epoch; ends the training if it returns true. */
  readonly isOver?: (() => boolean) | undefined;
  /** Where loss and gradients are computed. */
  readonly device: Device;
  readonly signal?: AbortSignal | undefined;
  readonly onStep?: ((report: StepReport) => void) | undefined;
  /** Called after each epoch with the current adapter, before the checkpoint is written. */
  readonly onEpoch?: ((epoch: number, adapter: Adapter) => Promise<void>) | undefined;
}

export const CHECKPOINT_FILE = "checkpoint.safetensors";
/** The result of a run: with `keep: best`, the adapter of the best epoch so far. */
export const ADAPTER_FILE = "adapter.safetensors";
/** The adapter of the last epoch, if `ADAPTER_FILE` contains another one. */
export const LAST_ADAPTER_FILE = "adapter-last.safetensors";

/**
 * Trains an adapter and writes it to the output folder, as `LAST_ADAPTER_FILE` with `keep: best`. An interrupted run
 * resumes from its last checkpoint and ends with the same weights, bit for bit, as an uninterrupted one.
 *
 * @throws invalid_option if the checkpoint belongs to another run; invalid_checkpoint; diverged; aborted
 */
export async function train(run: TrainingRun): Promise<Adapter> {
  const { config, initial, fingerprint, whitening } = run;
  mkdirSync(config.output, { recursive: true });
  const checkpoint = join(config.output, CHECKPOINT_FILE);
  const { beta1, beta2, epsilon } = config.optimizer;
  const state = readRunState(checkpoint, fingerprint);
  const training = await WeightTraining.open(
    writeTrainingGraph(run),
    { weights: initial.tensors, optimizer: { beta1, beta2, epsilon }, state },
    { device: run.device },
  );
  const adapter = (): Adapter => {
    const trained = { settings: initial.settings, tensors: training.weights };
    return whitening?.fromWhitened(trained) ?? trained;
  };
  try {
    await runSteps(run, training, adapter, () => training.save(checkpoint, fingerprint));
    writeAdapter(join(config.output, config.keep === "best" ? LAST_ADAPTER_FILE : ADAPTER_FILE), adapter());
    return adapter();
  } finally {
    await training.close();
  }
}

async function runSteps(
  run: TrainingRun,
  training: WeightTraining,
  adapter: () => Adapter,
  save: () => void,
): Promise<void> {
  const { config, batches, onEpoch, onStep } = run;
  const { learningRate } = config.optimizer;
  const stepsPerEpoch = Math.ceil(batches.batchesPerEpoch / config.accumulation);
  const schedule: Schedule = {
    steps: config.epochs * stepsPerEpoch,
    warmupSteps: Math.round(config.schedule.warmupEpochs * stepsPerEpoch),
    startShare: config.schedule.startShare,
    endShare: config.schedule.endShare,
  };
  await fit(training, {
    async *batches(done) {
      for (let step = done; step < schedule.steps; step++) {
        if (step % stepsPerEpoch === 0 && run.isOver?.()) return;
        yield await feedsOfStep(run, Math.floor(step / stepsPerEpoch), step % stepsPerEpoch);
      }
    },
    outputs: ["token_loss"],
    rateShare: (step) => learningRateShare(schedule, step),
    stepSize: (name, share) => stepSize(config, name, share),
    clipNorm: config.optimizer.clipNorm,
    async onStep({ step, loss, gradientNorm, rateShare, batches: done, milliseconds }) {
      const epoch = Math.floor((step - 1) / stepsPerEpoch);
      const tokenLosses = done.map(({ outputs }) => floats(outputs.token_loss));
      onStep?.({
        step,
        steps: schedule.steps,
        epoch,
        loss,
        tokenLoss: sum(tokenLosses.map(sum)) / Math.max(1, sum(tokenLosses.map(({ length }) => length))),
        learningRate: learningRate * rateShare,
        gradientNorm,
        examples: sum(done.map(({ feeds }) => feeds.input_ids?.shape[0] ?? 0)),
        milliseconds,
      });
      const epochIsOver = step % stepsPerEpoch === 0;
      if (epochIsOver) await onEpoch?.(epoch + 1, adapter());
      if (epochIsOver || step % config.checkpointEvery === 0) save();
    },
    signal: run.signal,
    onAbort() {
      save();
      throw new EpalmError("aborted", "training was stopped; start it again to resume from the checkpoint");
    },
  });
}

function writeTrainingGraph({ config, model, modality, initial, device }: TrainingRun): string {
  const g = new GraphBuilder("training");
  const backbones = backbonesOf(model.manifest, modality);
  const widths = adapterWidths(backbones);
  const graph = trainingGraph(g, frozenDecoder(model, g), {
    settings: initial.settings,
    widths,
    depth: backbones.encoder.depth,
    trained: adapterShapes(initial.settings, widths),
    labelSmoothing: config.loss.labelSmoothing,
  });
  const path = join(config.output, "graph", "training.onnx");
  writeOnnx(device === "cpu" ? graph : plainProducts(graph), path, { packTables: false });
  return path;
}

/** The batches of a step, weighted equally; the last step of an epoch may have fewer. */
async function feedsOfStep(run: TrainingRun, epoch: number, step: number): Promise<Feeds[]> {
  const { accumulation } = run.config;
  const first = step * accumulation;
  const last = Math.min(first + accumulation, run.batches.batchesPerEpoch);
  const feeds: Feeds[] = [];
  for (let index = first; index < last; index++) {
    const batch = await run.batches.batch(epoch, index);
    const masks = dropoutMasks(run, epoch * run.batches.batchesPerEpoch + index, batch.states.shape[0] ?? 0);
    feeds.push({ ...feedsOf(run, batch, 1 / (last - first)), ...masks });
  }
  return feeds;
}

/** They depend only on the seed and the batch, so that a resumed run draws the same ones. */
function dropoutMasks({ config, model, modality, initial }: TrainingRun, batch: number, size: number): Feeds {
  const { connector } = initial.settings;
  const { patches } = adapterWidths(backbonesOf(model.manifest, modality));
  const dropout = connector && patches && dropoutOf(connector, patches);
  if (!dropout) return {};
  const { probability, shape } = dropout;
  const [random = Math.random] = randomStreams(config.seed * 1_000_003 + batch, 1);
  const masks = new Float32Array(elementCount([size, ...shape]));
  for (let i = 0; i < masks.length; i++) masks[i] = random() < probability ? 0 : 1 / (1 - probability);
  return { dropout_masks: { type: "float32", shape: [size, ...shape], data: masks } };
}

/** @param share weight of the batch in the loss of its step */
function feedsOf(
  { config, model, modality, initial, whitening }: TrainingRun,
  { texts, states, answerStarts, textBefore }: TrainingBatch,
  share: number,
): Feeds {
  const { loss } = config;
  const backbones = backbonesOf(model.manifest, modality);
  const layout = trainingLayout(initial.settings, adapterWidths(backbones), backbones.decoder.shape.layers);
  const [batch = 1] = texts.ids.shape;
  const weight = (loss.scale * share) / batch;
  const seen = whitening?.whitened(states) ?? states;
  return trainingFeeds(texts, { states: seen, textBefore }, layout, {
    weightOf: (row, place) => (loss.on === "answer" && place < (answerStarts[row] ?? 0) ? 0 : weight),
  });
}

function stepSize({ optimizer }: TrainingConfig, name: string, share: number): StepSize {
  const { learningRate, promptLearningRate = learningRate, weightDecay } = optimizer;
  const rate = name.startsWith("connector.") ? learningRate : promptLearningRate;
  return { learningRate: rate * share, weightDecay };
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
