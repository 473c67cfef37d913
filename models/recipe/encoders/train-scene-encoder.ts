import { appendFileSync } from "node:fs";
import { join } from "node:path";
import type { Tensor } from "../../../src/tensor/tensor.js";
import { batchesInOrder, type LabelledInputs, randomBatches, type Classes, trainingClasses, type EncoderConfig, type ExtraHead, initialEncoder, trainEncoder, fingerprintOf } from "../../../src/training/index.js";
import { type LabelSlots, slotFeeds, slotLoss } from "./slot-loss.js";

export interface SceneEncoderOptions {
  /** Folder of the encoder, in the form of a public checkpoint, and of the run's checkpoint and log. */
  readonly output: string;
  readonly config: EncoderConfig;
  /** The public `preprocessor_config.json`. */
  readonly preprocessor: unknown;
  readonly training: LabelledInputs;
  /** By name; each is scored every `testEvery` steps. */
  readonly tests: Readonly<Record<string, LabelledInputs>>;
  readonly steps: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly warmupSteps: number;
  readonly labelSmoothing: number;
  /** Blocks that are trained, the last ones, with the norm behind them. Default: all, and what is before them. */
  readonly trainedBlocks?: number | undefined;
  /**
   * Trains states whose linear map is the slot of the example's labels as well. A head's logits become probabilities by a
   * softmax, and an adapter has none: only a block can choose one of many names instead of a little of each.
   */
  readonly slots?: SlotOptions | undefined;
  /** Weights to start from by name, those of heads among them; the others are random. */
  readonly start?: ReadonlyMap<string, Tensor> | undefined;
  readonly testEvery: number;
  /** What a killed run loses at most, in steps. */
  readonly checkpointEvery: number;
  readonly seed: number;
  readonly threads?: number | undefined;
}

export interface SlotOptions {
  readonly tables: LabelSlots;
  /** Those whose labels a slot has to distinguish; it comes close to the labels of all. */
  readonly attributes: readonly string[];
}

export interface SceneEncoderHooks {
  readonly onStep?: ((step: number, loss: number, milliseconds: number) => void) | undefined;
  readonly onTest?: ((step: number, test: string, accuracies: AttributeAccuracies) => void) | undefined;
}

export type AttributeAccuracies = Readonly<Record<string, number>>;

/** Of the heads' losses beside that of slots: states are to keep what the heads recognise. */
const KEPT_HEADS_WEIGHT = 0.25;

/**
 * Trains an encoder of the recipe, of any modality, to name what labelled scenes contain; resumes from its checkpoint.
 * `OUTPUT/tests.jsonl` has a line per test.
 *
 * @throws invalid_data where a test has attributes of its own; invalid_option where the checkpoint is another run's; diverged
 */
export async function trainSceneEncoder(
  options: SceneEncoderOptions,
  { onStep, onTest }: SceneEncoderHooks = {},
): Promise<void> {
  const { output, config, start = new Map(), training, tests, batchSize, seed, slots, ...others } = options;
  const classes = trainingClasses(
    training.examples,
    Object.values(tests).flatMap(({ examples }) => examples),
  );
  await trainEncoder(
    {
      ...others,
      output,
      config,
      seed,
      weights: initialEncoder(config, seed, start),
      heads: start,
      writeHeads: false,
      classes,
      patchClasses: training.patchLabels,
      extraHead: slots && slotHead(slots, classes),
      fixedPositions: false,
      optimizer: { ...options, endShare: 0.01, beta2: 0.98, clipNorm: 1 },
      batches: (first) => randomBatches(training, { first, steps: options.steps, batchSize, seed }),
      tests: Object.fromEntries(
        Object.entries(tests).map(([name, test]) => [name, () => batchesInOrder(test, { batchSize, seed })]),
      ),
      fingerprint: fingerprintOfRun(options),
    },
    {
      onStep,
      onTest(test, found, step, loss) {
        const accuracies = Object.fromEntries(found);
        appendFileSync(join(output, "tests.jsonl"), `${JSON.stringify({ step, loss, test, accuracies })}\n`);
        onTest?.(step, test, accuracies);
      },
    },
  );
}

/** A linear map of states to the slots that stand for their labels in the language model. */
function slotHead({ tables, attributes }: SlotOptions, classes: Classes): ExtraHead {
  const distinguished = new Map(Array.from(classes).filter(([attribute]) => attributes.includes(attribute)));
  return {
    name: "slot",
    width: tables.width,
    labelsWeight: KEPT_HEADS_WEIGHT,
    loss: (g, slots) => slotLoss(g, slots, distinguished, tables),
    feeds: (examples) => slotFeeds(tables, examples),
  };
}

/** Hash of what affects the trained weights, except for the inputs and the start themselves. */
function fingerprintOfRun({
  start,
  output,
  tests,
  testEvery,
  checkpointEvery,
  threads,
  training,
  slots,
  ...settings
}: SceneEncoderOptions): string {
  return fingerprintOf([
    settings,
    slots && [slots.tables.width, slots.attributes],
    Array.from(start?.keys() ?? []),
    training.examples.map(({ labels }) => labels),
    Array.from(training.patchLabels ?? []),
  ]);
}
