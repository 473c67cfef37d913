import { appendFileSync } from "node:fs";
import { join } from "node:path";
import type { Tensor } from "../../../src/tensor/tensor.js";
import {
  batchesInOrder,
  type Classes,
  type EncoderTrainingOptions,
  type ExtraHead,
  type Fingerprint,
  hashOf,
  initialEncoder,
  type LabelledInputs,
  randomBatches,
  trainEncoder,
  trainingClasses,
} from "../../../src/training/index.js";
import { type LabelSlots, slotFeeds, slotLoss } from "./slot-loss.js";

/** Options that the encoders of all modalities share. */
const common = {
  learningRate: 1e-3,
  weightDecay: 0.05,
  labelSmoothing: 0.05,
  checkpointEvery: 100,
  seed: 0,
};

/** Options that the build sets for each encoder. */
export interface EncoderRunOptions {
  readonly output: string;
  readonly steps: number;
  readonly batchSize: number;
  readonly testEvery: number;
  readonly threads?: number | undefined;
}

export interface SceneEncoderOptions
  extends EncoderRunOptions,
    Partial<typeof common>,
    Pick<EncoderTrainingOptions, "config" | "preprocessor" | "trainedBlocks" | "warmupSteps"> {
  readonly training: LabelledInputs;
  /** Test sets by name. */
  readonly tests: Readonly<Record<string, LabelledInputs>>;
  /**
   * Also trains the states so that a linear map of them gives the slot of the example's labels. The heads turn logits
   * into probabilities with a softmax, which an adapter does not have: only a block can select one of many names
   * instead of mixing a little of each.
   */
  readonly slots?: SlotOptions | undefined;
  /** Initial weights by name, including those of heads; all others are random. */
  readonly start?: ReadonlyMap<string, Tensor> | undefined;
}

export interface SlotOptions {
  readonly tables: LabelSlots;
  /** Attributes whose labels a slot has to distinguish. The slot approximates the labels of all attributes. */
  readonly attributes: readonly string[];
}

export interface SceneEncoderHooks {
  readonly onStep?: ((step: number, loss: number, milliseconds: number) => void) | undefined;
  readonly onTest?: ((step: number, test: string, accuracies: AttributeAccuracies) => void) | undefined;
}

export type AttributeAccuracies = Readonly<Record<string, number>>;

/** Weight of the heads' losses relative to the slot loss, so that the states keep what the heads recognise. */
const KEPT_HEADS_WEIGHT = 0.25;

/**
 * Trains an encoder of any modality to classify the content of labelled scenes; resumes from its checkpoint. Appends
 * one line per test to `OUTPUT/tests.jsonl`.
 *
 * @throws invalid_option if the checkpoint belongs to a run with other options
 */
export async function trainSceneEncoder(
  given: SceneEncoderOptions,
  { onStep, onTest }: SceneEncoderHooks = {},
): Promise<void> {
  const { start, training, tests, batchSize, slots, ...options } = { ...common, ...given };
  const { output, config, steps, seed } = options;
  const tested = Object.values(tests).flatMap(({ examples }) => examples);
  const classes = trainingClasses(training.examples, tested);
  await trainEncoder(
    {
      ...options,
      ...{ fixedPositions: false, endShare: 0.01, beta2: 0.98, clipNorm: 1, writeHeads: false },
      weights: initialEncoder(config, seed, start),
      heads: start,
      classes,
      patchClasses: training.patchLabels,
      extraHead: slots && slotHead(slots, classes),
      batches: (first) => randomBatches(training, { first, steps, batchSize, seed }),
      tests: Object.fromEntries(
        Object.entries(tests).map(([name, test]) => [name, () => batchesInOrder(test, { batchSize, seed })]),
      ),
      fingerprint: fingerprintOfRun({ ...common, ...given }),
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

/** A linear map from states to the slots of their labels in the language model. */
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

/** What affects the trained weights, except for the inputs and the start themselves. */
function fingerprintOfRun(options: SceneEncoderOptions): Fingerprint {
  const { start, output, tests, testEvery, checkpointEvery, threads, training, slots, ...settings } = options;
  return {
    config: {
      ...settings,
      slots: slots && [slots.tables.width, slots.attributes],
      start: Array.from(start?.keys() ?? []),
    },
    data: hashOf([training.examples.map(({ labels }) => labels), Array.from(training.patchLabels ?? [])]),
  };
}
