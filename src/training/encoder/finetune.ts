import { createHash } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { patchesPerSide, type VitConfig, vitConfig } from "../../backbones/vit.js";
import { weightsInMemory } from "../../backbones/weights-in-memory.js";
import { EpalmError } from "../../core/errors.js";
import { randomStreams } from "../../core/random.js";
import { writeOnnx } from "../../graph/onnx-writer.js";
import { bytesOf, type Tensor } from "../../tensor/tensor.js";
import { ImageBatches } from "../data/image-batches.js";
import type { LabelledImage } from "../data/labelled-images.js";
import { readRunState, writeRunState } from "../run-state.js";
import { learningRateShare } from "../schedule.js";
import { WeightTraining } from "../weight-training.js";
import { type Classes, countRight, initialHeads, labelFeeds, trainingClasses } from "./attributes.js";
import { classifierGraph, REGIONS } from "./classifier-graph.js";
import { type EncoderFolder, writeEncoderFolder } from "./encoder-folder.js";
import { maeInitializer } from "./initial-mae.js";
import { countRightPatches, regionLabels, regionTargets } from "./region-targets.js";

export interface FinetuneOptions {
  /** Where the encoder is put, and the run's checkpoint and log. */
  readonly output: string;
  readonly training: readonly LabelledImage[];
  /** Scored after each epoch; labels that training does not have count as mistakes. */
  readonly test: readonly LabelledImage[];
  /** Of the last blocks; default: all. */
  readonly trainedBlocks?: number | undefined;
  readonly epochs: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly warmupEpochs: number;
  /** Each block learns so much more slowly than the one above it (Clark et al. 2020); 1: all alike. */
  readonly layerDecay: number;
  readonly labelSmoothing: number;
  /** Share of the area that a random crop has at least; 1: no crops. */
  readonly leastArea: number;
  readonly mirror: boolean;
  readonly seed: number;
  readonly threads?: number | undefined;
}

export interface FinetuneHooks {
  readonly signal?: AbortSignal | undefined;
  readonly onStep?: ((step: number, steps: number, loss: number) => void) | undefined;
  readonly onEpoch?: ((epoch: number, accuracies: Accuracies) => void) | undefined;
}

/** Per attribute, the share of test pictures whose label has the largest logit; `regions`: of patches inside of some. */
export type Accuracies = ReadonlyMap<string, number>;

const optimizer = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

const CHECKPOINT_FILE = "checkpoint.safetensors";
const LOG_FILE = "epochs.jsonl";

/**
 * Trains an encoder, or its last blocks, to name what labelled pictures show, and where they have regions, what each
 * patch shows; writes it as a folder that `epalm build` takes. Started again with the same options, it goes on after the last whole epoch.
 *
 * @throws invalid_data where a test has other attributes; invalid_option; diverged; aborted
 */
export async function finetune(
  encoder: EncoderFolder,
  options: FinetuneOptions,
  hooks: FinetuneHooks = {},
): Promise<Accuracies> {
  const classes = trainingClasses(options.training, options.test);
  const regions = regionLabels(options.training);
  refuseMovedRegions(regions, classes, options);
  const blocks = encoder.config.num_hidden_layers;
  if ((options.trainedBlocks ?? 0) > blocks) {
    throw new EpalmError(
      "invalid_option",
      `trained blocks: the encoder has ${blocks}, expected no more, got ${options.trainedBlocks}`,
    );
  }
  mkdirSync(options.output, { recursive: true });
  const config = vitConfigOf(encoder.config);
  const run = await Finetuning.open(config, encoder.tensors, { classes, regions }, options);
  try {
    return await run.run(hooks);
  } finally {
    await run.close();
  }
}

/** Crops and mirrors would have to move the regions, too. */
function refuseMovedRegions(
  regions: readonly string[],
  classes: Classes,
  { leastArea, mirror }: FinetuneOptions,
): void {
  if (classes.has(REGIONS)) {
    throw new EpalmError(
      "invalid_data",
      `training pictures: '${REGIONS}' may not be the name of an attribute`,
    );
  }
  if (regions.length > 0 && (leastArea < 1 || mirror)) {
    throw new EpalmError("invalid_option", "pictures with regions: expected no crops and no mirrors");
  }
}

/** The encoder part of a config. */
export function vitConfigOf(config: EncoderFolder["config"]): VitConfig {
  return vitConfig.parse({ ...config, model_type: "vit" });
}

/** The same encoder before any training: what pre-training adds is the difference. */
export function untrained({ config, tensors }: EncoderFolder, seed: number): EncoderFolder {
  const [random = Math.random] = randomStreams(seed, 1);
  const initialize = maeInitializer(config, random);
  return {
    config,
    tensors: new Map(
      Array.from(tensors, ([name, { shape }]) => [
        name,
        { type: "float32", shape, data: initialize(name, shape) },
      ]),
    ),
  };
}

/** What there is to tell apart: labels per attribute, and those of patches. */
interface TrainingTargets {
  readonly classes: Classes;
  readonly regions: readonly string[];
}

class Finetuning {
  private constructor(
    private readonly config: VitConfig,
    private readonly tensors: ReadonlyMap<string, Tensor>,
    private readonly targets: TrainingTargets,
    private readonly options: FinetuneOptions,
    private readonly training: WeightTraining,
    private readonly fingerprint: string,
  ) {}

  static async open(
    config: VitConfig,
    tensors: ReadonlyMap<string, Tensor>,
    targets: TrainingTargets,
    options: FinetuneOptions,
  ): Promise<Finetuning> {
    const { trainedBlocks = config.num_hidden_layers, output, labelSmoothing } = options;
    const { classes, regions } = targets;
    const counts = new Map(Array.from(classes, ([attribute, labels]) => [attribute, labels.length]));
    const heads = regions.length > 0 ? new Map([...counts, [REGIONS, regions.length]]) : counts;
    const all = new Map([...tensors, ...initialHeads(heads, config.hidden_size, options.seed)]);
    const { graph, trained } = classifierGraph(config, weightsInMemory(all, "encoder"), {
      classes: counts,
      regionLabels: regions.length,
      trainedBlocks,
      labelSmoothing,
    });
    const fingerprint = fingerprintOf(options, config, tensors);
    const state = readRunState(join(output, CHECKPOINT_FILE), fingerprint);
    const start = new Map(trained.map((name) => [name, all.get(name) as Tensor]));
    const path = join(output, "graph", "finetune.onnx");
    writeOnnx(graph, path);
    const training = await WeightTraining.open(
      path,
      { weights: state?.weights ?? start, optimizer, state },
      { threads: options.threads },
    );
    return new Finetuning(config, tensors, targets, options, training, fingerprint);
  }

  async run({ signal, onStep, onEpoch }: FinetuneHooks): Promise<Accuracies> {
    const { options, training } = this;
    const batches = new ImageBatches(
      options.training.map(({ path }) => path),
      {
        imageSize: this.config.image_size,
        batchSize: options.batchSize,
        augment: { leastArea: options.leastArea, mirror: options.mirror },
      },
    );
    const perEpoch = batches.batchesPerEpoch;
    const steps = options.epochs * perEpoch;
    const schedule = {
      steps,
      warmupSteps: Math.round(options.warmupEpochs * perEpoch),
      startShare: 0,
      endShare: 0,
    };
    let accuracies: Accuracies = new Map();
    const done = Math.floor(training.steps / perEpoch);
    keepEpochs(join(options.output, LOG_FILE), done);
    for (let epoch = done; epoch < options.epochs; epoch++) {
      for await (const { pixels, indices } of batches.epoch(options.seed + epoch)) {
        if (signal?.aborted)
          throw new EpalmError("aborted", "fine-tuning was stopped; it goes on from its last epoch");
        const seen = indices.map((index) => options.training[index] as LabelledImage);
        const { loss } = await training.add({ pixels, ...this.#labelFeeds(seen) });
        const share = learningRateShare(schedule, training.steps);
        training.step({ sizeOf: (name) => this.#stepSize(name, share) });
        onStep?.(training.steps, steps, Number(loss?.data[0]));
      }
      accuracies = await this.accuracies();
      this.#save(epoch + 1, accuracies);
      onEpoch?.(epoch + 1, accuracies);
    }
    return accuracies.size > 0 ? accuracies : this.accuracies();
  }

  close(): Promise<void> {
    return this.training.close();
  }

  /** On the test pictures, as they are. */
  async accuracies(): Promise<Accuracies> {
    const { test, batchSize } = this.options;
    const counts = new Map<string, { right: number; all: number }>();
    const add = (attribute: string, { right, all }: { right: number; all: number }) => {
      const before = counts.get(attribute) ?? { right: 0, all: 0 };
      if (all > 0) counts.set(attribute, { right: before.right + right, all: before.all + all });
    };
    const batches = new ImageBatches(
      test.map(({ path }) => path),
      { imageSize: this.config.image_size, batchSize },
    );
    const { classes, regions } = this.targets;
    const asked = [...classes.keys(), ...(regions.length > 0 ? [REGIONS] : [])];
    for await (const { pixels, indices } of batches.epoch()) {
      const seen = indices.map((index) => test[index] as LabelledImage);
      const results = await this.training.evaluate(
        { pixels, ...this.#labelFeeds(seen) },
        asked.map((attribute) => `logits of ${attribute}`),
      );
      const logitsOf = (attribute: string) => results[`logits of ${attribute}`]?.data as Float32Array;
      for (const [attribute, labels] of classes)
        add(attribute, countRight(logitsOf(attribute), labels, seen, attribute));
      if (regions.length > 0) {
        const targets = regionTargets(seen, regions, patchesPerSide(this.config));
        add(REGIONS, countRightPatches(logitsOf(REGIONS), targets, regions.length));
      }
    }
    return new Map(Array.from(counts, ([attribute, { right, all }]) => [attribute, right / all]));
  }

  #labelFeeds(pictures: readonly LabelledImage[]): Record<string, Tensor> {
    const { classes, regions } = this.targets;
    const feeds = labelFeeds(classes, pictures);
    if (regions.length > 0) {
      const targets = regionTargets(pictures, regions, patchesPerSide(this.config));
      feeds[`labels of ${REGIONS}`] = targets.labels;
      feeds[`weights of ${REGIONS}`] = targets.weights;
    }
    return feeds;
  }

  #stepSize(name: string, share: number) {
    const { learningRate, layerDecay, weightDecay } = this.options;
    const layers = this.config.num_hidden_layers;
    const [, index] = /^blocks\.(\d+)\./.exec(name) ?? [];
    const below = name.startsWith("head.") || name.startsWith("norm.") ? 0 : layers - Number(index ?? -1);
    const isMatrix = name.endsWith(".weight") && !name.includes("norm");
    return {
      learningRate: learningRate * share * layerDecay ** below,
      weightDecay: isMatrix ? weightDecay : 0,
    };
  }

  #save(epoch: number, accuracies: Accuracies): void {
    const { output } = this.options;
    const { weights, moments, steps } = this.training;
    const encoderTensors = Array.from(this.tensors).filter(([name]) => !/^(decoder_|mask_token)/.test(name));
    writeEncoderFolder(output, { config: this.config, tensors: new Map([...encoderTensors, ...weights]) });
    writeFileSync(join(output, "classes.json"), JSON.stringify(Object.fromEntries(this.targets.classes)));
    const line = { epoch, accuracies: Object.fromEntries(accuracies) };
    appendFileSync(join(output, LOG_FILE), `${JSON.stringify(line)}\n`);
    writeRunState(join(output, CHECKPOINT_FILE), {
      step: steps,
      fingerprint: this.fingerprint,
      weights,
      moments,
    });
  }
}

/** What a killed run logged of an epoch that has to be done again is left out. */
function keepEpochs(path: string, done: number): void {
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  const lines = text.split("\n").slice(0, done);
  writeFileSync(path, lines.map((line) => `${line}\n`).join(""));
}

/** Of everything that decides about the weights: the encoder's, too. */
function fingerprintOf(
  options: FinetuneOptions,
  config: VitConfig,
  tensors: ReadonlyMap<string, Tensor>,
): string {
  const { output, test, threads, ...settings } = options;
  const hash = createHash("sha256").update(JSON.stringify([settings, config]));
  for (const [name, { data }] of tensors) hash.update(name).update(bytesOf(data));
  return hash.digest("hex");
}
