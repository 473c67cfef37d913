import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { patchesPerSide, type VitConfig, vitConfig } from "../../backbones/encoders/vit.js";
import { EpalmError } from "../../core/errors.js";
import { JsonLinesLog } from "../../core/files/json-lines-log.js";
import { randomStreams } from "../../core/random.js";
import { imagenetPreprocessorConfig } from "../../preprocessing/image-preprocessing.js";
import { floats } from "../../tensor/tensor.js";
import { contentHashes } from "../data/content-hashes.js";
import { type ImageBatch, ImageBatches } from "../data/image-batches.js";
import type { LabelledBatch } from "../data/labelled-batches.js";
import type { LabelledImage } from "../data/labelled-images.js";
import { type Fingerprint, hashOf } from "../run-state.js";
import { type Classes, isHead, trainingClasses } from "./attributes.js";
import type { EncoderFolder } from "./encoder-folder.js";
import { maeInitializer } from "./initial-mae.js";
import { REGIONS, regionLabels, regionTargets } from "./region-targets.js";
import { type Accuracies, trainEncoder } from "./train-encoder.js";

/** Options of `finetune`. */
export interface FinetuneOptions {
  /** Folder of the encoder and of the run's checkpoint and log. */
  readonly output: string;
  readonly training: readonly LabelledImage[];
  /** Scored after each epoch; labels that no training image has count as errors. */
  readonly test: readonly LabelledImage[];
  /** Number of last blocks to train; 0 trains only the heads. Default: all blocks and the embedding. */
  readonly trainedBlocks?: number | undefined;
  readonly epochs: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly warmupEpochs: number;
  /** Ratio of each block's learning rate to that of the block above it (Clark et al. 2020); 1: the same rate. */
  readonly layerDecay: number;
  readonly labelSmoothing: number;
  /** Minimum fraction of the area that a random crop keeps; 1: no crops. */
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

const LOG_FILE = "epochs.jsonl";
const epochSchema = z.object({ epoch: z.int(), accuracies: z.record(z.string(), z.number()) });

/**
 * Trains an encoder, or its last blocks, to classify labelled images and, if the images have regions, each patch.
 * Writes the encoder as a folder that `epalm build` takes. If started again with the same options, it resumes after the
 * last complete epoch.
 *
 * @throws invalid_data if the test images have other attributes; invalid_option; diverged; aborted
 *
 * @example
 * ```ts
 * import { finetune, readEncoderFolder, readLabelledImages } from "epalm/fedmae";
 * const accuracies = await finetune(await readEncoderFolder("encoder"), {
 *   output: "runs/plants",
 *   training: await readLabelledImages(["plants/train"]),
 *   test: await readLabelledImages(["plants/test"]),
 *   epochs: 10,
 *   batchSize: 32,
 *   learningRate: 1e-3,
 *   weightDecay: 0.05,
 *   warmupEpochs: 1,
 *   layerDecay: 0.75,
 *   labelSmoothing: 0.1,
 *   leastArea: 0.5,
 *   mirror: true,
 *   seed: 0,
 * });
 * ```
 */
export async function finetune(
  encoder: EncoderFolder,
  options: FinetuneOptions,
  { signal, onStep, onEpoch }: FinetuneHooks = {},
): Promise<Accuracies> {
  const { output, training, test, epochs, batchSize, seed, leastArea, mirror } = options;
  const config = vitConfigOf(encoder.config);
  const classes = trainingClasses(training, test);
  const regions = regionLabels(training);
  refuseMovedRegions(regions, classes, options);
  refuseMissingBlocks(config, options);
  const images = (of: readonly LabelledImage[], augment?: { leastArea: number; mirror: boolean }) =>
    new ImageBatches(
      of.map(({ path }) => path),
      { imageSize: config.image_size, batchSize, augment },
    );
  const batches = images(training, { leastArea, mirror });
  const perEpoch = batches.batchesPerEpoch;
  const labelled = labeller(regions, patchesPerSide(config));
  const steps = epochs * perEpoch;
  let log: JsonLinesLog<typeof epochSchema> | undefined;
  let latest: Accuracies = new Map();
  const tested = await trainEncoder(
    {
      ...options,
      config,
      preprocessor: imagenetPreprocessorConfig(config.image_size),
      weights: new Map(
        Array.from(encoder.tensors).filter(([name]) => !isHead(name) && !/^(decoder_|mask_token)/.test(name)),
      ),
      writeHeads: true,
      classes,
      patchClasses: new Map(regions.length > 0 ? [[REGIONS, regions]] : []),
      fixedPositions: true,
      warmupSteps: Math.round(options.warmupEpochs * perEpoch),
      endShare: 0,
      beta2: 0.999,
      steps,
      async *batches(done) {
        for (let epoch = Math.floor(done / perEpoch); epoch < epochs; epoch++) {
          yield* labelled(batches.epoch(seed + epoch), training);
        }
      },
      tests: { test: () => labelled(images(test).epoch(), test) },
      testEvery: perEpoch,
      retest: true,
      checkpointEvery: perEpoch,
      fingerprint: await fingerprintOfRun(encoder, config, options, signal),
    },
    {
      signal,
      onAbort() {
        throw new EpalmError(
          "aborted",
          "fine-tuning was stopped; start it again to resume after the last complete epoch",
        );
      },
      onStart(done) {
        // Drops epochs that a killed run logged but did not save, because they are repeated.
        log = new JsonLinesLog(join(output, LOG_FILE), epochSchema, ({ epoch }) => epoch <= done / perEpoch);
      },
      onStep: (step, loss) => onStep?.(step, steps, loss),
      onTest(_name, accuracies, step) {
        latest = accuracies;
        writeFileSync(join(output, "classes.json"), JSON.stringify(Object.fromEntries(classes)));
        log?.add({ epoch: step / perEpoch, accuracies: Object.fromEntries(accuracies) });
      },
      onCheckpoint: (step) => onEpoch?.(step / perEpoch, latest),
    },
  );
  return tested.get("test") ?? latest;
}

/** Adds the labels of images and of their patches to batches. */
function labeller(regions: readonly string[], side: number) {
  return async function* labelled(
    batches: AsyncIterable<ImageBatch>,
    images: readonly LabelledImage[],
  ): AsyncGenerator<LabelledBatch> {
    for await (const { pixels, indices } of batches) {
      const examples = indices.flatMap((index) => images[index] ?? []);
      const patches = regions.length > 0 && new Map([[REGIONS, regionTargets(examples, regions, side)]]);
      yield { examples, input: floats(pixels), ...(patches ? { patches } : {}) };
    }
  };
}

function refuseMissingBlocks({ num_hidden_layers: blocks }: VitConfig, { trainedBlocks = 0 }: FinetuneOptions): void {
  if (trainedBlocks <= blocks) return;
  throw new EpalmError(
    "invalid_option",
    `trained blocks: expected at most ${blocks}, the depth of the encoder, got ${trainedBlocks}`,
  );
}

/** Cropping and mirroring do not move the regions. */
function refuseMovedRegions(
  regions: readonly string[],
  classes: Classes,
  { leastArea, mirror }: FinetuneOptions,
): void {
  if (classes.has(REGIONS)) {
    throw new EpalmError("invalid_data", `training images: '${REGIONS}' cannot be the name of an attribute`);
  }
  if (regions.length > 0 && (leastArea < 1 || mirror)) {
    throw new EpalmError("invalid_option", "images with regions: expected no crops and no mirroring");
  }
}

/** The part of a config that describes the encoder, whose class token is the one that is trained or probed. */
export function vitConfigOf(config: EncoderFolder["config"]): VitConfig {
  return vitConfig.omit({ epalm_pooling: true }).parse({ ...config, model_type: "vit" });
}

/**
 * The same encoder with random weights, as a baseline that shows what pre-training contributes.
 *
 * @example
 * ```ts
 * import { readEncoderFolder, untrained } from "epalm/fedmae";
 * const baseline = untrained(await readEncoderFolder("encoder"), 1);
 * ```
 */
export function untrained({ config, tensors }: EncoderFolder, seed: number): EncoderFolder {
  const [random = Math.random] = randomStreams(seed, 1);
  const initialize = maeInitializer(config, random);
  return {
    config,
    tensors: new Map(
      Array.from(tensors, ([name, { shape }]) => [name, { type: "float32", shape, data: initialize(name, shape) }]),
    ),
  };
}

async function fingerprintOfRun(
  { tensors }: EncoderFolder,
  config: VitConfig,
  options: FinetuneOptions,
  signal: AbortSignal | undefined,
): Promise<Fingerprint> {
  const { output, training, test, threads, ...settings } = options;
  const contents = await contentHashes(
    training.map(({ path }) => path),
    signal,
  );
  return {
    config: settings,
    model: hashOf(config, tensors),
    data: hashOf(training.map(({ path, ...labelled }) => [contents.get(path), labelled])),
  };
}
