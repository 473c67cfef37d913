import { dirname, resolve } from "node:path";
import { z } from "zod";
import { readConfigFile } from "../../core/config-file.js";
import { modalities } from "../../core/modality.js";
import { ADAPTER_NAME } from "../../model/manifest.js";

/**
 * The config file of a training run, YAML or JSON. Unknown keys are errors. Relative paths are relative to the file.
 * docs/training.md says what each key does and which name the published recipes have for it.
 */

/** Each costs a run of the encoder per picture, and its states on disk. */
const MAX_AUGMENTATIONS = 100;

/** An epoch's random numbers are seeded with a million times it, and a bit: that must stay an exact number. */
const MAX_SEED = 2 ** 32 - 1;

/** An empty one would be the config's own folder. */
const path = z.string().min(1);
const positive = z.number().positive();
const share = z.number().min(0).max(1);
const belowOne = z.number().min(0).lt(1);
const count = z.int().min(1);

const dataSet = z.strictObject({
  /** A `.jsonl` file, a COCO captions or VQA v2 questions file, or a folder of pictures with texts. */
  path,
  /** VQA v2: the annotations that belong to the questions. */
  annotations: path.optional(),
  /** COCO and VQA v2: where the pictures are. Default: beside the file. */
  media: path.optional(),
  /** VQA v2: how pictures are named. Default: `COCO_{split}_{id:012d}.jpg`. */
  imagePattern: z.string().optional(),
});

const adapter = z.strictObject({
  name: z
    .string()
    .regex(ADAPTER_NAME, "expected letters, digits, '.', '_' and '-', a letter or digit first")
    .default("main"),
  tasks: z
    .array(z.enum(["caption", "vqa"]))
    .min(1)
    .optional(),
  /** Of the encoder whose states it takes. Default: the model's only one, or else that of the first example. */
  modality: z.enum(modalities).optional(),
  /** K. Published: 6. */
  injectedStates: count,
  startLayer: z.int().min(0),
  endLayer: count,
  sharedConnector: z.boolean().default(true),
  /** P. Published: 10; the paper's smallest setting: 1. */
  promptLength: count.default(1),
  promptForm: z.enum(["table", "mlp"]).default("table"),
  /** Published: everything. `itself` never sees the future when it is trained. */
  perceptionSees: z.enum(["everything", "itself"]).default("itself"),
  /** An adapter file to go on from, of the same settings. */
  initial: path.optional(),
});

const loss = z.strictObject({
  /** The summed cross-entropy of a text is multiplied by it. */
  scale: positive.default(0.1),
  /** `text`: every token but the first counts, as published. `answer`: those behind the prompt. */
  on: z.enum(["text", "answer"]).default("text"),
  labelSmoothing: belowOne.default(0),
});

const optimizer = z.strictObject({
  learningRate: positive.default(2e-5),
  /** Of the soft prompt. Default: `learningRate`. */
  promptLearningRate: positive.optional(),
  weightDecay: z.number().min(0).default(0.02),
  beta1: belowOne.default(0.9),
  beta2: belowOne.default(0.999),
  epsilon: positive.default(1e-8),
  /** Gradients whose norm, over all tensors, is larger are scaled down to it. Default: never. */
  clipNorm: positive.optional(),
});

const schedule = z.strictObject({
  warmupEpochs: z.number().min(0).default(0),
  /** Share of the learning rate at the start of the warm-up and at the end of the run. */
  startShare: share.default(0.5),
  endShare: share.default(0.05),
});

export const trainingConfigSchema = z.strictObject({
  model: path,
  output: path,
  data: z.strictObject({ train: dataSet, validation: dataSet.optional() }),
  adapter,
  loss: loss.prefault({}),
  optimizer: optimizer.prefault({}),
  schedule: schedule.prefault({}),
  epochs: count.default(8),
  batchSize: count.default(16),
  /** Batches whose gradients are added before each step of the optimizer. */
  accumulation: count.default(1),
  seed: z.int().min(0).max(MAX_SEED).default(0),
  /** Pictures are seen without change, or, where it is above 0, each in so many ways; not for sounds and videos. */
  augmentations: z.int().min(0).max(MAX_AUGMENTATIONS).default(0),
  /** Whether augmented pictures may be mirrored, too: not where texts speak of left and right. */
  mirror: z.boolean().default(false),
  /** Train in coordinates in which all directions of the states vary alike; the adapter is written for states as they are. */
  whiten: z.boolean().default(false),
  /** Folder of the encoder's states, computed once; runs may share it. Default: `states` in the output. */
  cache: path.optional(),
  /** Leave bad examples out, and list them, instead of refusing the data set. */
  skipBad: z.boolean().default(false),
  /** Put the trained adapter into the model folder when the run is over. */
  install: z.boolean().default(true),
  /** Optimizer steps between checkpoints: what a killed run loses at most. */
  checkpointEvery: count.default(100),
  /** Examples of the validation set that are scored after each epoch. Default: all. */
  validationExamples: count.optional(),
  /** Train without the medium: the same run, blind. What pictures add is the difference. */
  blind: z.boolean().default(false),
});

export type TrainingConfig = z.infer<typeof trainingConfigSchema>;

/** Reads a config file; throws `not_found` or `invalid_option` with file, key and cause. */
export function readTrainingConfig(path: string): TrainingConfig {
  return withAbsolutePaths(readConfigFile(path, trainingConfigSchema), dirname(path));
}

function withAbsolutePaths(config: TrainingConfig, folder: string): TrainingConfig {
  const at = (path: string) => resolve(folder, path);
  const dataSetAt = (set: z.infer<typeof dataSet>) => ({
    path: at(set.path),
    ...(set.annotations === undefined ? {} : { annotations: at(set.annotations) }),
    ...(set.media === undefined ? {} : { media: at(set.media) }),
    ...(set.imagePattern === undefined ? {} : { imagePattern: set.imagePattern }),
  });
  const { train, validation } = config.data;
  const { initial, ...rest } = config.adapter;
  return {
    ...config,
    model: at(config.model),
    output: at(config.output),
    cache: config.cache === undefined ? undefined : at(config.cache),
    data: { train: dataSetAt(train), ...(validation ? { validation: dataSetAt(validation) } : {}) },
    adapter: { ...rest, ...(initial === undefined ? {} : { initial: at(initial) }) },
  };
}
