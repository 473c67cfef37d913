import { existsSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Adapter, AdapterSettings } from "../../adapter/adapter.js";
import { readAdapter, writeAdapter } from "../../adapter/adapter-file.js";
import { patchDepths, visualTokenCount } from "../../adapter/visual-connector.js";
import { at } from "../../core/at.js";
import { EpalmError, unexpected } from "../../core/errors.js";
import { writeAtomically } from "../../core/files/atomic-write.js";
import { whileLocked } from "../../core/files/lock-path.js";
import type { Modality } from "../../core/modality.js";
import { randomStreams } from "../../core/random.js";
import { augmentedModalities } from "../../media/augment/augment-settings.js";
import { thumbnail } from "../../media/decode/image/thumbnail.js";
import { encoderOf, modalitiesOf } from "../../model/encoders.js";
import { refuseInt4 } from "../../model/frozen-decoder.js";
import { installAdapter } from "../../model/install-adapter.js";
import { readManifest, type TaskName } from "../../model/manifest.js";
import { adapterWidths, backbonesOf, checkFits, type ModelFolder, openModelFolder } from "../../model/model-folder.js";
import { addPatchGraph } from "../../model/patch-graph.js";
import { type ModelPlacement, placeModel } from "../../model/place-model.js";
import { load, type Model } from "../../pipeline.js";
import { openSession } from "../../runtime/session.js";
import { elementCount } from "../../tensor/tensor.js";
import { loadTokenizer } from "../../tokenizer/tokenizer.js";
import {
  type CalibrationReport,
  type MeasuredFamiliarity,
  measureConfidence,
  measureFamiliarity,
} from "../calibration/measure-calibration.js";
import { refuseBadExamples } from "../data/bad-examples.js";
import { contentHashes } from "../data/content-hashes.js";
import { EncoderStates, type View } from "../data/encoder-states.js";
import type { BadExample } from "../data/example.js";
import { type DataSet, type ReadOptions, readDataSet } from "../data/read-data-set.js";
import { TrainingBatches, viewsOf } from "../data/training-batches.js";
import type { TrainingData } from "../data/training-data.js";
import { trainingTexts } from "../data/training-texts.js";
import { type ReportSample, renderTrainingReport } from "../report/training-report.js";
import { type Fingerprint, readRunState } from "../run-state.js";
import { breakdown } from "./breakdown.js";
import { adapterSettingsOf, type TrainingConfig } from "./config.js";
import type { Prediction } from "./evaluate.js";
import { type Evaluation, evaluateModel, namedScores } from "./evaluate-model.js";
import { initialAdapter } from "./initial-adapter.js";
import { bestEpoch, keptScore } from "./kept-epoch.js";
import { refuseReplacing } from "./refuse-replacing.js";
import { fingerprintOfRun } from "./run-fingerprint.js";
import { RunLog } from "./run-log.js";
import { ADAPTER_FILE, CHECKPOINT_FILE, LAST_ADAPTER_FILE, type StepReport, train } from "./train-adapter.js";
import { Whitening } from "./whitening.js";

export const LOG_FILE = "log.jsonl";
export const REPORT_FILE = "report.html";
/** Folder of the text-only baseline in the output folder. */
export const BASELINE_FOLDER = "baseline";

/** Number of examples in the report, and the longer side of their images in pixels. */
const SAMPLES = 24;
const SAMPLE_SIDE = 192;

/** Summary of a run before it starts. */
export interface TrainingPlan {
  /** Modality of all media. */
  readonly modality: Modality;
  readonly examples: number;
  readonly validationExamples: number;
  /** Bad examples of both sets that were left out. */
  readonly skipped: readonly BadExample[];
  readonly trainedParameters: number;
  readonly frozenParameters: number;
  /** Fraction of all parameters that is trained, 0 to 1. */
  readonly trainedShare: number;
  /** Optimizer steps that an earlier session of this run has done. */
  readonly resumedFrom: number;
}

/** Callbacks of a training run, and the signal that stops it. */
export interface TrainHooks {
  readonly signal?: AbortSignal | undefined;
  /** Called when everything has been read and checked, before anything is computed. */
  readonly onPlan?: ((plan: TrainingPlan) => void) | undefined;
  /** Called before the text-only baseline is trained, whose steps and epochs are reported like those of the adapter. */
  readonly onBaseline?: (() => void) | undefined;
  /** Called as encoder states become available. */
  readonly onEncoding?: ((done: number, all: number) => void) | undefined;
  readonly onStep?: ((report: StepReport) => void) | undefined;
  readonly onEpoch?: ((epoch: number, scores: Readonly<Record<string, number>>) => void) | undefined;
}

/** The trained adapter, the files of the run and the scores of the epoch that was kept. */
export interface TrainingResult {
  readonly adapter: Adapter;
  readonly adapterFile: string;
  /** The adapter of the last epoch, with `keep: best`. */
  readonly lastAdapterFile?: string | undefined;
  readonly reportFile: string;
  /** The tasks that the adapter was trained for. */
  readonly tasks: readonly TaskName[];
  /** The epoch that was kept, counted from 1: the last, or with `keep: best` the one with the best score. */
  readonly epoch: number;
  /** Scores after this epoch; empty without a validation set. */
  readonly scores: Readonly<Record<string, number>>;
  /** Those of the text-only baseline, with `baseline: true`. */
  readonly baselineScores?: Readonly<Record<string, number>> | undefined;
  /** How familiarity and confidence were calibrated; absent with `calibrate: false` or `blind: true`. */
  readonly calibration?: CalibrationReport | undefined;
}

/**
 * Trains an adapter for a model folder according to a config: reads and checks all data, computes the encoder states
 * once, trains, evaluates after each epoch, writes log, report and adapter, and installs the adapter in the model
 * folder. If started again with the same config, it resumes from the last checkpoint and ends with the same weights,
 * even if its folders have moved.
 *
 * @throws invalid_data, invalid_option, invalid_model, invalid_adapter, not_found, diverged, aborted; in_use if another
 * process trains in the output folder
 *
 * @example
 * ```ts
 * import { readTrainingConfig, trainModel } from "epalm";
 * const { adapterFile, scores } = await trainModel(readTrainingConfig("plants.yaml"), {
 *   onStep: ({ step, steps, tokenLoss }) => console.log(step, steps, tokenLoss),
 * });
 * ```
 */
export async function trainModel(config: TrainingConfig, hooks: TrainHooks = {}): Promise<TrainingResult> {
  return whileLocked(config.output, async () => {
    // First, because the report of the adapter, which is written after each epoch, contains its scores.
    const baselineScores = config.baseline ? await baselineOf(config, hooks) : undefined;
    return { ...(await trainAlone(config, hooks, baselineScores)), ...(baselineScores ? { baselineScores } : {}) };
  });
}

/** Trains the text-only baseline of a config; returns its scores. */
async function baselineOf(config: TrainingConfig, { signal, onBaseline, onStep, onEpoch }: TrainHooks) {
  if (config.data.validation === undefined) {
    throw unexpected("invalid_option", "baseline", "'data.validation' with it", "no validation examples");
  }
  onBaseline?.();
  const output = join(config.output, BASELINE_FOLDER);
  const { scores } = await trainModel(
    { ...config, output, blind: true, baseline: false, install: false },
    { signal, onStep, onEpoch },
  );
  return scores;
}

async function trainAlone(
  config: TrainingConfig,
  hooks: TrainHooks,
  baselineScores: TrainingResult["scores"] | undefined,
): Promise<TrainingResult> {
  const opened = await openModelFolder(config.model);
  refuseInt4(opened);
  await refuseReplacing(config, opened);
  const settings = adapterSettingsOf(config, opened.manifest.decoder.shape.layers);
  refuseWhitening(config, settings);
  const data = await readData(config, opened, settings, hooks.signal);
  const { modality } = data;
  const folder = addPatchGraph(opened, modality, settings);
  const initial = await startingAdapter(config, folder, modality);
  const contents = await contentHashes(mediaOf(config, data), hooks.signal);
  const fingerprint = await fingerprintOfRun(config, folder, data, contents);
  mkdirSync(config.output, { recursive: true });
  const resumedFrom = readRunState(join(config.output, CHECKPOINT_FILE), fingerprint)?.step ?? 0;
  const plan = planOf(folder, data, initial, resumedFrom);
  hooks.onPlan?.(plan);
  const devices = await placeModel(folder.manifest, config.device, openSession);
  const states = new EncoderStates(folder, {
    modality,
    device: devices.encoder.device,
    cache: config.cache ?? join(config.output, "states"),
    mirror: config.mirror,
    seed: config.seed,
    contents,
    augment: config.augment,
    patchDepths: settings.connector && patchDepths(settings.connector),
  });
  try {
    const parts = { config, folder, data, initial, states, devices, plan, fingerprint, hooks, baselineScores };
    if (config.blind) return await new Run(parts).run();
    const views = isDrawn(config) && !config.whiten ? [] : viewsOf(data.training, config.augmentations);
    const onView = (done: number) => hooks.onEncoding?.(done, views.length);
    await states.prepare(views, { signal: hooks.signal, onView });
    const { width } = encoderOf(folder.manifest, modality);
    const whitening =
      config.whiten && !initial.settings.connector
        ? Whitening.measure(await sampleOfStates(states, views), width, initial.settings)
        : undefined;
    return await new Run({ ...parts, whitening }).run();
  } finally {
    await states.close();
  }
}

/** A connector that is not linear in the states cannot be converted back to unmodified states. */
function refuseWhitening({ whiten }: TrainingConfig, { connector }: AdapterSettings): void {
  if (!whiten || !connector) return;
  throw unexpected("invalid_option", "whiten", `false with the connector ${connector.kind}`, "true");
}

/** Whether media are augmented anew in each epoch, so that their states cannot be computed in advance. */
function isDrawn({ augment, augmentations }: TrainingConfig): boolean {
  return augment !== undefined && augmentations === 0;
}

/** Maximum number of views on which a whitening is measured. */
const MEASURED_VIEWS = 4096;

async function sampleOfStates(states: EncoderStates, views: readonly View[]): Promise<Float32Array[]> {
  const count = Math.min(MEASURED_VIEWS, views.length);
  const chosen = Array.from({ length: count }, (_, i) => at(views, Math.floor((i * views.length) / count)));
  return Promise.all(chosen.map((view) => states.read(view)));
}

/** The media that affect the resulting adapter. */
function mediaOf({ blind, keep }: TrainingConfig, { training, validation }: TrainingData): string[] {
  if (blind) return [];
  const examples = [...training.map(({ example }) => example), ...(keep === "best" ? validation : [])];
  return examples.map(({ media }) => media.path);
}

async function readData(
  config: TrainingConfig,
  folder: ModelFolder,
  settings: AdapterSettings,
  signal: AbortSignal | undefined,
): Promise<TrainingData> {
  const options = { skipBad: config.skipBad, signal };
  const train = await readDataSet(config.data.train, { ...options, modalities: takenBy(config, folder) });
  const first = train.examples[0]?.media.modality ?? folder.manifest.encoder.modality;
  const { modality } = encoderOf(folder.manifest, first, "adapter.modality");
  refuseAugmentations(config, modality);
  const validation: DataSet = config.data.validation
    ? await readDataSet(config.data.validation, { ...options, modalities: [modality] })
    : { examples: [], skipped: [] };
  const scored = validation.examples.slice(0, config.validationExamples);
  const score = keptScore(config, scored);
  const tokenizer = loadTokenizer(join(folder.path, folder.manifest.decoder.tokenizer));
  const { manifest } = addPatchGraph(folder, modality, settings);
  const { patches } = adapterWidths(backbonesOf(manifest, modality));
  const visualTokens = settings.connector && patches ? visualTokenCount(settings.connector, patches) : 0;
  const { good, bad } = trainingTexts(train.examples, tokenizer, manifest, visualTokens);
  refuseBadExamples(config.data.train.path, good.length, bad, options);
  return {
    modality,
    training: good,
    validation: scored,
    score,
    skipped: [...train.skipped, ...bad, ...validation.skipped],
  };
}

/** The modalities that the examples may have, before the data are known. */
function takenBy({ adapter }: TrainingConfig, { manifest }: ModelFolder): ReadOptions["modalities"] {
  if (adapter.modality !== undefined) {
    return [encoderOf(manifest, adapter.modality, "adapter.modality").modality];
  }
  const taken = modalitiesOf(manifest);
  return taken.length === 1 ? taken : "one";
}

function refuseAugmentations({ augmentations, augment, mirror }: TrainingConfig, modality: Modality): void {
  if (augment === undefined) {
    if (modality === "image" || augmentations === 0) return;
    const expected = `expected 0 for ${modality}, or 'augment'`;
    throw new EpalmError("invalid_option", `augmentations: ${expected}, got ${augmentations}`);
  }
  if (mirror)
    throw unexpected("invalid_option", "mirror", "'augment.flip' instead of it together with 'augment'", "true");
  for (const [name, taken] of Object.entries(augmentedModalities)) {
    if (!(name in augment) || taken.includes(modality)) continue;
    throw unexpected("invalid_option", `augment.${name}`, `an adapter for ${taken.join(" or ")}`, modality);
  }
}

async function startingAdapter(config: TrainingConfig, folder: ModelFolder, modality: Modality): Promise<Adapter> {
  const { initial } = config.adapter;
  const settings = adapterSettingsOf(config, folder.manifest.decoder.shape.layers);
  const backbones = backbonesOf(folder.manifest, modality);
  const [random = Math.random] = randomStreams(config.seed, 1);
  const adapter =
    initial === undefined
      ? initialAdapter(settings, adapterWidths(backbones), random)
      : await readInitial(initial, settings);
  checkFits(adapter, backbones, initial ?? "adapter");
  return adapter;
}

/** @throws invalid_adapter if the file has other settings */
async function readInitial(path: string, settings: AdapterSettings): Promise<Adapter> {
  if (!settings.connector) return readAdapter(path, settings);
  const adapter = await readAdapter(path);
  for (const [key, value] of Object.entries(settings)) {
    const own = Object.entries(adapter.settings).find(([name]) => name === key)?.[1];
    if (isDeepStrictEqual(own, value)) continue;
    throw unexpected("invalid_adapter", `${path}: '${key}'`, JSON.stringify(value), JSON.stringify(own));
  }
  return adapter;
}

function planOf(
  { manifest }: ModelFolder,
  { modality, training, validation, skipped }: TrainingData,
  { tensors }: Adapter,
  resumedFrom: number,
): TrainingPlan {
  const trainedParameters = Array.from(tensors.values(), ({ shape }) => elementCount(shape)).reduce(
    (sum, count) => sum + count,
    0,
  );
  const { encoder, decoder } = backbonesOf(manifest, modality);
  const frozenParameters = encoder.parameters + decoder.parameters;
  return {
    modality,
    examples: training.length,
    validationExamples: validation.length,
    skipped,
    trainedParameters,
    frozenParameters,
    trainedShare: trainedParameters / (trainedParameters + frozenParameters),
    resumedFrom,
  };
}

interface RunParts {
  readonly config: TrainingConfig;
  readonly folder: ModelFolder;
  readonly data: TrainingData;
  readonly initial: Adapter;
  readonly states: EncoderStates;
  readonly devices: ModelPlacement;
  readonly plan: TrainingPlan;
  readonly fingerprint: Fingerprint;
  readonly hooks: TrainHooks;
  readonly baselineScores: TrainingResult["scores"] | undefined;
  readonly whitening?: Whitening | undefined;
}

class Run {
  readonly #parts: RunParts;
  readonly #log: RunLog;
  #model: Promise<Model> | undefined;
  /** Those of the kept epoch. */
  #predictions: readonly Prediction[] = [];
  #calibration: CalibrationReport | undefined;

  constructor(parts: RunParts) {
    this.#parts = parts;
    this.#log = new RunLog(this.#file(LOG_FILE), parts.plan.resumedFrom);
  }

  async run(): Promise<TrainingResult> {
    const { config, folder, data, hooks, whitening, fingerprint, devices } = this.#parts;
    const { modality } = data;
    const batches = new TrainingBatches(data.training, this.#parts.states, {
      batchSize: config.batchSize,
      seed: config.seed,
      augmentations: config.augmentations,
      drawn: isDrawn(config),
      textOnly: config.blind,
      statesShape: this.#parts.states.shape,
    });
    try {
      const last = await train({
        config,
        model: folder,
        modality,
        batches,
        initial: this.#start(),
        whitening,
        fingerprint,
        device: devices.decoder.device,
        isOver: () => this.#isOver(),
        signal: hooks.signal,
        onStep: (report) => {
          this.#log.add({ kind: "step", ...report });
          hooks.onStep?.(report);
        },
        onEpoch: (epoch, trained) => this.#afterEpoch(epoch, trained),
      });
      // With the settings in the same order, so that the installed file and that of the run have the same bytes.
      const adapter =
        data.score === undefined ? last : { ...last, tensors: (await readAdapter(this.#file(ADAPTER_FILE))).tensors };
      const calibrated = await this.#calibrate(adapter);
      await this.#install(calibrated);
      await this.#finishReport(calibrated);
      const kept = this.#keptEpoch();
      return {
        adapter: calibrated,
        adapterFile: this.#file(ADAPTER_FILE),
        lastAdapterFile: data.score === undefined ? undefined : this.#file(LAST_ADAPTER_FILE),
        reportFile: this.#file(REPORT_FILE),
        tasks: this.#tasks(),
        epoch: kept?.epoch ?? config.epochs,
        scores: kept?.scores ?? {},
        ...(this.#calibration ? { calibration: this.#calibration } : {}),
      };
    } finally {
      await (await this.#model)?.close();
    }
  }

  /** Adds what the familiarity and the confidence of answers are computed from, and writes the adapter again. */
  async #calibrate(adapter: Adapter): Promise<Adapter> {
    const { config, folder, data, hooks } = this.#parts;
    if (!config.calibrate || config.blind) return adapter;
    const familiarity = await this.#familiarity();
    if (this.#predictions.length === 0) this.#predictions = (await this.#evaluate(adapter))?.predictions ?? [];
    const confidence =
      this.#predictions.length === 0
        ? undefined
        : await measureConfidence(...(await this.#evaluated(adapter)), this.#predictions, hooks);
    const { summary, measuredOn, nearDuplicates, notes } = familiarity;
    this.#calibration = {
      familiarity: measuredOn,
      confidence: confidence?.confidence ?? {},
      nearDuplicates,
      notes: [...notes, ...(confidence?.notes ?? [])],
    };
    if (!summary && !confidence?.maps) return adapter;
    const calibrated = { ...adapter, calibration: { familiarity: summary, confidence: confidence?.maps } };
    checkFits(calibrated, backbonesOf(folder.manifest, data.modality), this.#file(ADAPTER_FILE));
    writeAdapter(this.#file(ADAPTER_FILE), calibrated);
    return calibrated;
  }

  async #familiarity(): Promise<MeasuredFamiliarity> {
    const { config, folder, data, hooks, devices } = this.#parts;
    const { modality } = data;
    const cache = config.cache ?? join(config.output, "states");
    const device = devices.encoder.device;
    const states = new EncoderStates(folder, { modality, cache, mirror: false, seed: config.seed, device });
    const media = {
      training: data.training.map(({ example }) => example.media.path),
      validation: data.validation.map(({ media }) => media.path),
    };
    try {
      return await measureFamiliarity(encoderOf(folder.manifest, modality), media, {
        ofMedium: (path) => states.readOrCompute({ path, augmentation: 0 }, hooks.signal),
        ofInput: (input) => states.encode(input),
      });
    } finally {
      await states.close();
    }
  }

  #file(name: string): string {
    return join(this.#parts.config.output, name);
  }

  async #install(adapter: Adapter): Promise<void> {
    const { config, folder, data } = this.#parts;
    if (!config.install) return;
    // Another adapter of this name may have been installed during the training.
    await refuseReplacing(config, { ...folder, manifest: readManifest(folder.path) });
    await installAdapter(folder.path, config.adapter.name, adapter, this.#tasks(), data.modality);
  }

  /** Random weights are used for whitened states as they are; the weights of a file must be converted. */
  #start(): Adapter {
    const { config, initial, whitening } = this.#parts;
    const isGiven = config.adapter.initial !== undefined;
    return (isGiven && whitening?.toWhitened(initial)) || initial;
  }

  /** The tasks of the config, or by default those of the training data. */
  #tasks(): TaskName[] {
    const { config, data } = this.#parts;
    return config.adapter.tasks ?? Array.from(new Set(data.training.map(({ example }) => example.kind)));
  }

  async #afterEpoch(epoch: number, adapter: Adapter): Promise<void> {
    const evaluation = await this.#evaluate(adapter);
    const scores = evaluation ? namedScores(evaluation.scores) : {};
    if (this.#isKept(scores)) {
      this.#predictions = evaluation?.predictions ?? [];
      // Written before the epoch is logged, so that the file always exists for the best logged epoch.
      if (this.#parts.data.score !== undefined) writeAdapter(this.#file(ADAPTER_FILE), adapter);
    }
    this.#log.add({ kind: "epoch", step: this.#log.lines.at(-1)?.step ?? 0, epoch, scores });
    await this.#report();
    this.#parts.hooks.onEpoch?.(epoch, scores);
  }

  /** Whether an epoch with these scores, after those in the log, would be the kept one. */
  #isKept(scores: Readonly<Record<string, number>>): boolean {
    const { score } = this.#parts.data;
    const now = { scores };
    return score === undefined || bestEpoch([...this.#epochs(), now], score) === now;
  }

  /** Whether `patience` epochs have not improved the score. */
  #isOver(): boolean {
    const { patience } = this.#parts.config;
    const epochs = this.#epochs();
    const best = this.#keptEpoch();
    return patience !== undefined && best !== undefined && epochs.length - best.epoch >= patience;
  }

  #keptEpoch() {
    const { score } = this.#parts.data;
    return score === undefined ? this.#epochs().at(-1) : bestEpoch(this.#epochs(), score);
  }

  /** The model with the adapter, and the name of the adapter in it. */
  async #evaluated(adapter: Adapter): Promise<[model: Model, name: string]> {
    const { config, data } = this.#parts;
    this.#model ??= load(config.model, { checksums: false, device: config.device });
    const model = await this.#model;
    const name = `${config.adapter.name} in training`;
    await model.useAdapter(name, adapter, data.modality);
    return [model, name];
  }

  async #evaluate(adapter: Adapter): Promise<Evaluation | undefined> {
    const { config, data, hooks } = this.#parts;
    if (data.validation.length === 0) return undefined;
    const [model, name] = await this.#evaluated(adapter);
    return evaluateModel(model, data.validation, {
      adapter: name,
      textOnly: config.blind,
      signal: hooks.signal,
    });
  }

  /**
   * The report was written after each epoch. It lacks the samples if the kept epoch belongs to an earlier session of
   * the run; that of a run that had already ended is complete.
   */
  async #finishReport(adapter: Adapter): Promise<void> {
    const isNew = this.#log.lines.some(({ step }) => step > this.#parts.plan.resumedFrom);
    const isComplete = !isNew || this.#predictions.length > 0;
    // The calibration was measured after the last epoch.
    if (existsSync(this.#file(REPORT_FILE)) && isComplete && !this.#calibration) return;
    if (isNew && this.#predictions.length === 0) this.#predictions = (await this.#evaluate(adapter))?.predictions ?? [];
    await this.#report();
  }

  #epochs() {
    return this.#log.lines.flatMap((line) => (line.kind === "epoch" ? [line] : []));
  }

  async #report(): Promise<void> {
    const { config, plan, folder, data, baselineScores } = this.#parts;
    const html = renderTrainingReport({
      title: `${config.adapter.name}: ${basename(config.output)}`,
      facts: [
        ["model", folder.manifest.name],
        ["modality", plan.modality],
        ["training examples", String(plan.examples)],
        ["validation examples", String(plan.validationExamples)],
        ["skipped examples", String(plan.skipped.length)],
        ["trained parameters", `${plan.trainedParameters} (${(plan.trainedShare * 100).toPrecision(3)} %)`],
        ["frozen parameters", String(plan.frozenParameters)],
        ["text-only baseline", config.blind ? "yes" : "no"],
        ["seed", String(config.seed)],
        ["kept epoch", keptEpochText(this.#keptEpoch(), data.score)],
      ],
      baselineScores,
      calibration: this.#calibration,
      breakdown: this.#predictions.length === 0 ? undefined : breakdown(this.#predictions),
      steps: this.#log.lines.flatMap((line) => (line.kind === "step" ? [line] : [])),
      epochs: this.#epochs(),
      samples: await Promise.all(this.#predictions.slice(0, SAMPLES).map(sampleOf)),
    });
    writeAtomically(this.#file(REPORT_FILE), html);
  }
}

function keptEpochText(kept: { readonly epoch: number } | undefined, score: string | undefined): string {
  return score === undefined ? "last" : `${kept?.epoch ?? "none"}, with the best ${score}`;
}

async function sampleOf(prediction: Prediction): Promise<ReportSample> {
  const { id, media, modality, references, prediction: text } = prediction;
  // A file that has been removed or damaged since it was encoded must not end the run.
  const image = await thumbnail({ path: media, modality }, SAMPLE_SIDE).catch(() => undefined);
  return {
    id,
    ...(prediction.kind === "vqa" ? { question: prediction.question } : {}),
    prediction: text,
    references,
    ...(image ? { image, mime: "image/jpeg" } : { file: basename(media) }),
  };
}

/**
 * Data for `epalm eval`. `limit` is the number of examples, counted from the first. Examples whose modality is not in
 * `modalities` are bad.
 *
 * @throws as `readDataSet`
 *
 * @example
 * ```ts
 * import { readEvaluationData } from "epalm";
 * const { examples, skipped } = await readEvaluationData({ path: "plants/test.jsonl" }, { skipBad: true });
 * ```
 */
export async function readEvaluationData(
  source: TrainingConfig["data"]["train"],
  options: {
    readonly skipBad?: boolean | undefined;
    readonly limit?: number | undefined;
    readonly modalities?: ReadOptions["modalities"];
    readonly signal?: AbortSignal | undefined;
  } = {},
): Promise<DataSet> {
  const { examples, skipped } = await readDataSet(source, options);
  if (options.limit !== undefined && options.limit < 1) {
    throw new EpalmError("invalid_option", `limit: expected at least 1, got ${options.limit}`);
  }
  return { examples: examples.slice(0, options.limit), skipped };
}
