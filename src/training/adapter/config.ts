import { dirname, resolve } from "node:path";
import { z } from "zod";
import type { AdapterSettings } from "../../adapter/adapter.js";
import { visualConnectorSchema } from "../../adapter/connector-schema.js";
import { deviceChoices } from "../../core/device.js";
import { readConfigFile } from "../../core/files/config-file.js";
import { modalities } from "../../core/modality.js";
import { augmentSettingsSchema } from "../../media/augment/augment-settings.js";
import { ADAPTER_NAME } from "../../model/manifest.js";
import { dataSetFormats } from "../data/data-set-formats.js";

/**
 * The config file of a training run, YAML or JSON. Unknown keys are errors. Relative paths start at the folder of the
 * file. docs/training.md describes each key and gives its name in the published recipes.
 */

/** Each augmentation requires one run of the encoder per image, and space for the states on disk. */
const MAX_AUGMENTATIONS = 100;

/** Each epoch is seeded with about a million times the seed, which must be an exact integer. */
const MAX_SEED = 2 ** 32 - 1;

/** An empty path would resolve to the folder of the config. */
const path = z.string().min(1);
const positive = z.number().positive();
const share = z.number().min(0).max(1);
const belowOne = z.number().min(0).lt(1);
const count = z.int().min(1);

/** See `DataSetSource`. */
const dataSet = z.strictObject({
  path,
  format: z.enum(dataSetFormats).optional(),
  annotations: path.optional(),
  media: path.optional(),
  imagePattern: z.string().optional(),
  split: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]).optional(),
  list: path.optional(),
});

const adapterKeys = z.strictObject({
  name: z
    .string()
    .regex(ADAPTER_NAME, "expected letters, digits, '.', '_' and '-', beginning with a letter or digit")
    .default("main"),
  tasks: z
    .array(z.enum(["caption", "vqa"]))
    .min(1)
    .optional(),
  /** Modality of the encoder. Default: the only one of the model, otherwise that of the first example. */
  modality: z.enum(modalities).optional(),
  /** What connects the encoder and the decoder. */
  connector: z
    .discriminatedUnion("kind", [z.strictObject({ kind: z.literal("cls-injection") }), visualConnectorSchema])
    .default({ kind: "cls-injection" }),
  /** K, with cls-injection. Published: 6. */
  injectedStates: count.optional(),
  /** The first layer of the injection. Default with visual tokens: 0. */
  startLayer: z.int().min(0).optional(),
  /** The layer after the last one of the injection. Default with visual tokens: the number of the decoder's layers. */
  endLayer: count.optional(),
  /** With cls-injection. */
  sharedConnector: z.boolean().default(true),
  /** P. Published: 10; the paper's smallest setting: 1. With visual tokens, 0 is possible. */
  promptLength: z.int().min(0).default(1),
  promptForm: z.enum(["table", "mlp"]).default("table"),
  /** With cls-injection. Published: everything. With `itself`, the slot never attends to later tokens in training. */
  perceptionSees: z.enum(["everything", "itself"]).default("itself"),
  /** Adapter file with the same settings, from which training starts. */
  initial: path.optional(),
});

/** Keys that cls-injection requires, and values that visual tokens permit for those that only cls-injection has. */
const requiredSlotKeys = ["injectedStates", "startLayer", "endLayer"] as const;
const withoutSlot = { injectedStates: undefined, sharedConnector: true, perceptionSees: "itself" } as const;

const adapter = adapterKeys.superRefine((given, context) => {
  const { connector } = given;
  if (connector.kind !== "cls-injection") {
    for (const [key, permitted] of Object.entries(withoutSlot)) {
      if (given[key as keyof typeof withoutSlot] === permitted) continue;
      const message = `has no meaning with the connector ${connector.kind}`;
      context.addIssue({ code: "custom", path: [key], message });
    }
    return;
  }
  for (const key of requiredSlotKeys) {
    if (given[key] === undefined) {
      context.addIssue({ code: "invalid_type", expected: "number", input: undefined, path: [key] });
    }
  }
  if (given.promptLength === 0) {
    const message = "expected at least 1 with the connector cls-injection";
    context.addIssue({ code: "custom", path: ["promptLength"], message });
  }
});

/** The settings of the adapter that a config describes, for a decoder with `layers` layers. */
export function adapterSettingsOf({ adapter }: Pick<TrainingConfig, "adapter">, layers: number): AdapterSettings {
  const { connector, promptLength, promptForm, startLayer = 0, endLayer = layers } = adapter;
  if (connector.kind !== "cls-injection") return { connector, startLayer, endLayer, promptLength, promptForm };
  const { injectedStates = 1, sharedConnector, perceptionSees } = adapter;
  return { injectedStates, startLayer, endLayer, sharedConnector, promptLength, promptForm, perceptionSees };
}

const loss = z.strictObject({
  /** Factor of the summed cross-entropy of a text. */
  scale: positive.default(0.1),
  /** `text`: all tokens except the first count, as published. `answer`: only those after the prompt. */
  on: z.enum(["text", "answer"]).default("text"),
  labelSmoothing: belowOne.default(0),
});

const optimizer = z.strictObject({
  learningRate: positive.default(2e-5),
  /** Learning rate of the soft prompt. Default: `learningRate`. */
  promptLearningRate: positive.optional(),
  weightDecay: z.number().min(0).default(0.02),
  beta1: belowOne.default(0.9),
  beta2: belowOne.default(0.999),
  epsilon: positive.default(1e-8),
  /** Maximum norm of all gradients together; larger ones are scaled down to it. Default: no clipping. */
  clipNorm: positive.optional(),
});

const schedule = z.strictObject({
  warmupEpochs: z.number().min(0).default(0),
  /** Fractions of the learning rate at the start of the warm-up and at the end of the run. */
  startShare: share.default(0.5),
  endShare: share.default(0.05),
});

/**
 * The schema of the settings of a training run (docs/training.md).
 *
 * @example
 * ```ts
 * import { trainingConfigSchema } from "epalm";
 * const config = trainingConfigSchema.parse({
 *   model: "my-model",
 *   output: "runs/plants",
 *   adapter: { name: "plants", connector: { kind: "prefix", states: { pool: 7 }, projection: "mlp" } },
 *   data: { train: { path: "plants/train.jsonl" } },
 * });
 * ```
 */
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
  /** Number of batches whose gradients are summed for each optimizer step. */
  accumulation: count.default(1),
  seed: z.int().min(0).max(MAX_SEED).default(0),
  /**
   * Number of augmented views of each medium, whose states are computed once. 0: with `augment`, new views in each
   * epoch, otherwise the unchanged medium. Without `augment`, crops of images.
   */
  augmentations: z.int().min(0).max(MAX_AUGMENTATIONS).default(0),
  /** Whether images may be mirrored, without `augment`; unsuitable if captions or questions mention left and right. */
  mirror: z.boolean().default(false),
  /** Random changes of the training media, new ones in each epoch, or `augmentations` fixed ones. Default: none. */
  augment: augmentSettingsSchema.optional(),
  /** Train on whitened states. The finished adapter takes unmodified states. */
  whiten: z.boolean().default(false),
  /** Where the encoder, both passes and the evaluation are computed. Default: `EPALM_DEVICE`, or else cpu. */
  device: z.enum(deviceChoices).optional(),
  /** Folder of the encoder states, which several runs may share. Default: `states` in the output folder. */
  cache: path.optional(),
  /** Skip and list bad examples instead of rejecting the data set. */
  skipBad: z.boolean().default(false),
  /** Install the trained adapter in the model folder at the end of the run. */
  install: z.boolean().default(true),
  /** Replace an installed adapter of the same name. */
  replace: z.boolean().default(false),
  /** The epoch whose adapter is the result: the last, or as published the one with the best validation score. */
  keep: z.enum(["last", "best"]).default("last"),
  /** With `keep: best`: the score. Default: cider for captions, accuracy or exact-match for answers. */
  score: z.enum(["cider", "cider-d", "bleu-4", "rouge-l", "accuracy", "exact-match"]).optional(),
  /** With `keep: best`: ends the training after this many epochs without a better score. Default: never. */
  patience: count.optional(),
  /** Also train the text-only baseline, in `baseline` in the output folder, and report its scores. */
  baseline: z.boolean().default(false),
  /** At the end, measure what the familiarity and the confidence of answers are computed from. */
  calibrate: z.boolean().default(true),
  /** Optimizer steps between checkpoints; a killed run loses at most this many. */
  checkpointEvery: count.default(100),
  /** Examples of the validation set that are scored after each epoch. Default: all. */
  validationExamples: count.optional(),
  /** Train the text-only baseline: zeros replace the encoder states. */
  blind: z.boolean().default(false),
});

/** The settings of a training run, with defaults filled in (docs/training.md). */
export type TrainingConfig = z.infer<typeof trainingConfigSchema>;

/**
 * Reads a config file.
 *
 * @throws not_found; invalid_option, naming the file, the key and the cause
 *
 * @example
 * ```ts
 * import { readTrainingConfig, trainModel } from "epalm";
 * const { scores } = await trainModel(readTrainingConfig("plants.yaml"));
 * ```
 */
export function readTrainingConfig(path: string): TrainingConfig {
  return withAbsolutePaths(readConfigFile(path, trainingConfigSchema), dirname(path));
}

function withAbsolutePaths(config: TrainingConfig, folder: string): TrainingConfig {
  const at = (path: string) => resolve(folder, path);
  const dataSetAt = (set: z.infer<typeof dataSet>) => ({
    ...set,
    path: at(set.path),
    ...(set.annotations === undefined ? {} : { annotations: at(set.annotations) }),
    ...(set.media === undefined ? {} : { media: at(set.media) }),
    ...(set.list === undefined ? {} : { list: at(set.list) }),
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
