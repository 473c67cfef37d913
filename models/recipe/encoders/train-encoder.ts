import { createHash } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gradient } from "../../../src/autodiff/gradient.js";
import type { EncoderBackbone } from "../../../src/backbones/backbone.js";
import { encoderInputs } from "../../../src/backbones/encoder-graph.js";
import type { ParameterReader, WeightSource } from "../../../src/backbones/parameters.js";
import { encoderArchitecture } from "../../../src/backbones/registry.js";
import { timesformer } from "../../../src/backbones/timesformer.js";
import { type PatchBackbone, vit } from "../../../src/backbones/vit.js";
import { weightsInMemory } from "../../../src/backbones/weights-in-memory.js";
import { type Random, randomStreams, shuffled } from "../../../src/core/random.js";
import { openSafetensors, writeSafetensors } from "../../../src/formats/safetensors.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import type { Graph, Value } from "../../../src/graph/ir.js";
import { encodeOnnx } from "../../../src/graph/onnx-writer.js";
import { linear } from "../../../src/layers/linear.js";
import { constantSource, elementCount, type Tensor } from "../../../src/tensor/tensor.js";
import type { Labelled } from "../../../src/training/data/labelled-images.js";
import { filled, normal, xavierUniform } from "../../../src/training/distributions.js";
import {
  attributeLoss,
  attributeTargets,
  type Classes,
  countRight,
  headName,
  initialHeads,
  labelFeeds,
  outputLoss,
  trainingClasses,
} from "../../../src/training/encoder/attributes.js";
import { isTrainedPart } from "../../../src/training/encoder/classifier-graph.js";
import { type Initializer, InitialWeights } from "../../../src/training/initial-weights.js";
import { readRunState, writeRunState } from "../../../src/training/run-state.js";
import { learningRateShare } from "../../../src/training/schedule.js";
import { TrainedParameters } from "../../../src/training/trained-parameters.js";
import { WeightTraining } from "../../../src/training/weight-training.js";
import { type LabelSlots, slotFeeds, slotLoss } from "./slot-loss.js";

/** What an encoder learns from, or is tested on: labels per attribute, and the input that each example is. */
export interface LabelledInputs {
  readonly examples: readonly Labelled[];
  /** What patches of pictures or clips may show, by attribute, to be learnt, too; none where they are not asked. */
  readonly patchLabels?: Classes | undefined;
  /**
   * The encoder's input of one example, without the batch; called again in each epoch.
   *
   * @param random for what differs from time to time; the same in each test
   */
  input(index: number, random: Random): EncoderInput | Promise<EncoderInput>;
}

export interface EncoderInput {
  readonly data: Float32Array;
  /** By attribute, for each patch, the place in `patchLabels` of what it shows; below nought: nothing that is asked. */
  readonly patches?: ReadonlyMap<string, Int32Array> | undefined;
}

export interface EncoderTrainingOptions {
  /** Where the encoder is put, in the form of a public checkpoint, and the run's checkpoint and log. */
  readonly output: string;
  /** The public `config.json` of any encoder that epalm builds: `model_type` and sizes. */
  readonly config: { readonly model_type: string } & Readonly<Record<string, unknown>>;
  /** The public `preprocessor_config.json`: how a medium becomes the inputs that are given here. */
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
  /** Blocks that are trained, the last ones, with the norm behind them; default all, and what is before them. */
  readonly trainedBlocks?: number | undefined;
  /**
   * To be learnt, too: states whose linear map is the slot of the example's labels. A head's logits become probabilities
   * by a softmax, and an adapter has none: only a block can say of many names one, not a little of each.
   */
  readonly slots?: SlotOptions | undefined;
  /** Weights to begin with, by name; those that are not given begin at random. */
  readonly start?: ReadonlyMap<string, Tensor> | undefined;
  readonly testEvery: number;
  /** What a killed run loses at most, in steps. */
  readonly checkpointEvery: number;
  readonly seed: number;
  readonly threads?: number | undefined;
}

export interface SlotOptions {
  readonly tables: LabelSlots;
  /** Whose labels a slot has to tell apart; it comes near to the labels of all. */
  readonly attributes: readonly string[];
}

export interface EncoderTrainingHooks {
  readonly onStep?: ((step: number, loss: number, milliseconds: number) => void) | undefined;
  readonly onTest?: ((step: number, test: string, accuracies: AttributeAccuracies) => void) | undefined;
}

/** Per attribute, the share of examples that have it whose own label has the largest logit. */
export type AttributeAccuracies = Readonly<Record<string, number>>;

const optimizer = { beta1: 0.9, beta2: 0.98, epsilon: 1e-8 };
const schedule = { startShare: 0, endShare: 0.01 };
const CLIP_NORM = 1;

/** Seeds of a run's streams: further apart than any run has steps or epochs. */
const ORDER_SEED = 1_000_000_000;
const INPUT_SEED = 2_000_000_000;

/**
 * Trains an encoder of any modality, from random or given weights, to name what labelled examples show: a linear head per attribute
 * on the normed [CLS] state of its last block. Writes a folder that `epalm build` takes; goes on from its checkpoint
 * where it was stopped.
 *
 * @throws invalid_data where a test has attributes of its own; invalid_option where the checkpoint is another run's; diverged
 */
export async function trainEncoder(
  options: EncoderTrainingOptions,
  hooks: EncoderTrainingHooks = {},
): Promise<void> {
  mkdirSync(options.output, { recursive: true });
  const run = await EncoderTraining.open(options);
  try {
    await run.run(hooks);
  } finally {
    await run.close();
  }
}

class EncoderTraining {
  #next: Promise<Record<string, Tensor>> | undefined;

  private constructor(
    private readonly options: EncoderTrainingOptions,
    private readonly classes: Classes,
    /** Of all tensors: those that are not trained stay so. */
    private readonly start: ReadonlyMap<string, Tensor>,
    private readonly backbone: EncoderBackbone,
    /** Of one picture, where they are asked. */
    private readonly patches: number,
    private readonly training: WeightTraining,
    private readonly fingerprint: string,
  ) {}

  static async open(options: EncoderTrainingOptions): Promise<EncoderTraining> {
    const tested = Object.values(options.tests).flatMap(({ examples }) => examples);
    const classes = trainingClasses(options.training.examples, tested);
    const start = initialWeights(options, classes);
    const { graph, trained, backbone, patches } = trainingGraph(
      options,
      classes,
      weightsInMemory(start, "initial weights"),
    );
    const fingerprint = fingerprintOf(options);
    const state = readRunState(join(options.output, CHECKPOINT_FILE), fingerprint);
    const trainedStart = new Map(trained.map((name) => [name, start.get(name) as Tensor]));
    const training = await WeightTraining.open(
      encodeOnnx(graph),
      { weights: state?.weights ?? trainedStart, optimizer, state },
      { threads: options.threads },
    );
    return new EncoderTraining(options, classes, start, backbone, patches, training, fingerprint);
  }

  async run({ onStep, onTest }: EncoderTrainingHooks): Promise<void> {
    const { options, training } = this;
    const { steps, testEvery, checkpointEvery } = options;
    while (training.steps < steps) {
      const started = performance.now();
      const loss = await this.#step();
      onStep?.(training.steps, loss, performance.now() - started);
      const isLast = training.steps === steps;
      if (training.steps % testEvery === 0 || isLast) {
        for (const [name, test] of Object.entries(options.tests)) {
          const accuracies = await this.#accuracies(test);
          this.#log({ step: training.steps, loss, test: name, accuracies });
          onTest?.(training.steps, name, accuracies);
        }
      }
      if (training.steps % checkpointEvery === 0 || isLast) this.#save();
    }
  }

  close(): Promise<void> {
    return this.training.close();
  }

  async #step(): Promise<number> {
    const { options, training } = this;
    const feeds = await (this.#next ?? this.#stepFeeds(training.steps));
    const computed = training.add(feeds);
    // Drawn while this one is computed.
    this.#next = this.#stepFeeds(training.steps + 1);
    const [{ loss }] = await Promise.all([computed, this.#next]);
    const share = learningRateShare({ ...schedule, ...options }, training.steps);
    training.step({
      clipNorm: CLIP_NORM,
      sizeOf: (name) => ({
        learningRate: options.learningRate * share,
        weightDecay: isMatrix(name) ? options.weightDecay : 0,
      }),
    });
    return Number(loss?.data[0]);
  }

  #stepFeeds(step: number): Promise<Record<string, Tensor>> {
    const { seed, training } = this.options;
    const [random = Math.random] = randomStreams(seed + INPUT_SEED + step, 1);
    return this.#feeds(training, this.#batch(step), random);
  }

  /** Follows from the step alone; what is left of an epoch behind its last whole batch is not seen in it. */
  #batch(step: number): number[] {
    const { batchSize, seed, training } = this.options;
    const count = training.examples.length;
    const perEpoch = Math.max(1, Math.floor(count / batchSize));
    const [random = Math.random] = randomStreams(seed + ORDER_SEED + Math.floor(step / perEpoch), 1);
    const first = (step % perEpoch) * batchSize;
    return shuffled(
      Array.from({ length: count }, (_, index) => index),
      random,
    ).slice(first, first + batchSize);
  }

  async #accuracies(test: LabelledInputs): Promise<AttributeAccuracies> {
    const { batchSize, seed } = this.options;
    const [random = Math.random] = randomStreams(seed + INPUT_SEED, 1);
    const counts = new Map<string, { right: number; all: number }>();
    for (let first = 0; first < test.examples.length; first += batchSize) {
      const examples = test.examples.slice(first, first + batchSize);
      const feeds = await this.#feeds(
        test,
        Array.from(examples, (_, row) => first + row),
        random,
      );
      const logits = await this.training.evaluate(
        feeds,
        Array.from(this.classes.keys(), (attribute) => `logits of ${attribute}`),
      );
      for (const [attribute, labels] of this.classes) {
        const scores = logits[`logits of ${attribute}`]?.data as Float32Array;
        const { right, all } = countRight(scores, labels, examples, attribute);
        const before = counts.get(attribute) ?? { right: 0, all: 0 };
        if (all > 0) counts.set(attribute, { right: before.right + right, all: before.all + all });
      }
    }
    return Object.fromEntries(Array.from(counts, ([attribute, { right, all }]) => [attribute, right / all]));
  }

  async #feeds(
    { examples, input }: LabelledInputs,
    indices: readonly number[],
    random: Random,
  ): Promise<Record<string, Tensor>> {
    const { inputShape, modality } = this.backbone;
    const size = elementCount(inputShape);
    const data = new Float32Array(indices.length * size);
    const patches: EncoderInput["patches"][] = [];
    for (const [row, index] of indices.entries()) {
      const made = await input(index, random);
      data.set(made.data, row * size);
      patches.push(made.patches);
    }
    const seen = indices.map((index) => examples[index] as Labelled);
    const { slots } = this.options;
    return {
      [encoderInputs[modality]]: { type: "float32", shape: [indices.length, ...inputShape], data },
      ...this.#patchFeeds(patches),
      ...labelFeeds(this.classes, seen),
      ...(slots ? slotFeeds(slots.tables, seen) : {}),
    };
  }

  /** Each patch that shows something weighs the same; tests ask patches for nothing. */
  #patchFeeds(made: readonly EncoderInput["patches"][]): Record<string, Tensor> {
    const feeds: Record<string, Tensor> = {};
    for (const attribute of this.options.training.patchLabels?.keys() ?? []) {
      const shown = made.flatMap((patches) =>
        Array.from(patches?.get(attribute) ?? new Int32Array(this.patches).fill(-1)),
      );
      const count = shown.filter((place) => place >= 0).length;
      const labels = BigInt64Array.from(shown, (place) => BigInt(Math.max(0, place)));
      const weights = Float32Array.from(shown, (place) => (place < 0 ? 0 : PATCHES_WEIGHT / count));
      feeds[`labels of ${attribute}`] = { type: "int64", shape: [shown.length], data: labels };
      feeds[`weights of ${attribute}`] = { type: "float32", shape: [shown.length], data: weights };
    }
    return feeds;
  }

  #log(line: unknown): void {
    appendFileSync(join(this.options.output, "tests.jsonl"), `${JSON.stringify(line)}\n`);
  }

  #save(): void {
    const { output, config, preprocessor } = this.options;
    const { weights, moments, steps } = this.training;
    const json = (name: string, content: unknown) =>
      writeFileSync(join(output, name), `${JSON.stringify(content, undefined, 2)}\n`);
    json("config.json", config);
    json("preprocessor_config.json", preprocessor);
    writeSafetensors(
      join(output, "model.safetensors"),
      Array.from(new Map([...this.start, ...weights]))
        .filter(([name]) => !isHead(name))
        .map(([name, { shape, data }]) => [name, constantSource("float32", shape, data)] as const),
      { format: "pt" },
    );
    writeRunState(join(output, CHECKPOINT_FILE), {
      step: steps,
      fingerprint: this.fingerprint,
      weights,
      moments,
    });
  }
}

const CHECKPOINT_FILE = "checkpoint.safetensors";

/**
 * The heads of an encoder that `trainEncoder` has trained, by tensor name, for another one to begin with; none where the
 * folder has no checkpoint.
 */
export function trainedHeads(folder: string): Map<string, Tensor> {
  const path = join(folder, CHECKPOINT_FILE);
  if (!existsSync(path)) return new Map();
  const checkpoint = openSafetensors(path);
  try {
    const heads = Array.from(checkpoint.tensors).filter(([name]) => name.startsWith("weight head."));
    return new Map(
      heads.map(([name, { type, shape, read }]) => [
        name.slice("weight ".length),
        { type, shape, data: read() },
      ]),
    );
  } finally {
    checkpoint.close();
  }
}

const isHead = (name: string) => name.startsWith("head.");

const isMatrix = (name: string) => name.endsWith(".weight") && !name.includes("norm");

/** What is trained, and of what. */
interface TrainingGraph {
  readonly graph: Graph;
  /** Names of the weights. */
  readonly trained: readonly string[];
  readonly backbone: EncoderBackbone;
  /** Of one example; 0 where patches are not asked. */
  readonly patches: number;
}

/**
 * Inputs: the backbone's, and those of `attributeLoss` per attribute of examples and of patches, and of `slotLoss`; outputs:
 * `loss`, `logits of ATTRIBUTE`, `slot logits of ATTRIBUTE`, `gradient of NAME`.
 */
function trainingGraph(
  {
    config,
    labelSmoothing,
    trainedBlocks,
    slots,
    training: { patchLabels = new Map() },
  }: EncoderTrainingOptions,
  classes: Classes,
  weights: WeightSource,
): TrainingGraph {
  const g = new GraphBuilder("encoder-training");
  const first = Number(config.num_hidden_layers) - (trainedBlocks ?? 0);
  const parameters = new TrainedParameters(
    g,
    weights,
    (name) => trainedBlocks === undefined || isHead(name) || isTrainedPart(name, first, trainedBlocks),
  );
  const backbone = encoderArchitecture(config.model_type, "config").build(config, parameters);
  const { width } = backbone;
  const lossOf = (attribute: string, count: number, states: Value, rows: string) =>
    attributeLoss(g, parameters, states, width, attributeTargets(g, attribute, rows), {
      attribute,
      count,
      labelSmoothing,
    });
  const input = g.input(encoderInputs[backbone.modality], "float32", ["batch", ...backbone.inputShape]);
  const seen = patchLabels.size > 0 ? patchBackbone(config, parameters).through(input) : undefined;
  const state = g.slice(seen?.classTokens ?? backbone.states(input), 1, -1);
  const losses = Array.from(classes, ([attribute, { length }]) => lossOf(attribute, length, state, "batch"));
  const patches = seen?.patches();
  const perExample = Number(patches?.shape[1] ?? 0);
  for (const [attribute, { length }] of patches ? patchLabels : []) {
    losses.push(lossOf(attribute, length, patches as Value, `batch*${perExample}`));
  }
  outputLoss(g, slots ? [...losses.map(asKept), lossOfSlots(slots)] : losses);
  const { trained } = parameters;
  return { graph: gradient(g.finish(), "loss", trained), trained, backbone, patches: perExample };

  function asKept(loss: Value): Value {
    return g.multiply(loss, g.number(KEPT_HEADS_WEIGHT));
  }

  function lossOfSlots({ tables, attributes }: SlotOptions): Value {
    const head = parameters.linear(headName(SLOT), width, tables.width, { bias: true });
    const told = new Map(Array.from(classes).filter(([attribute]) => attributes.includes(attribute)));
    return slotLoss(g, linear(g, g.reshape(state, [-1, width]), head), told, tables);
  }
}

/** What the linear map of states to slots is called. */
const SLOT = "slot";

/** Of the heads' losses beside that of slots: states are to keep what heads tell. */
const KEPT_HEADS_WEIGHT = 0.25;

function patchBackbone(config: EncoderTrainingOptions["config"], parameters: ParameterReader): PatchBackbone {
  return config.model_type === "timesformer" ? timesformer(config, parameters) : vit(config, parameters);
}

/**
 * What an attribute of all patches together weighs, where one of examples weighs 1: from patches, a small encoder learns what things look like
 * in a fraction of the steps that it takes from the [CLS] state alone (Jiang et al. 2021, token labelling).
 */
const PATCHES_WEIGHT = 2;

/** Of the encoder and of its heads. */
function initialWeights(
  { config, seed, slots, training: { patchLabels = new Map() }, start = new Map() }: EncoderTrainingOptions,
  classes: Classes,
): ReadonlyMap<string, Tensor> {
  const weights = new InitialWeights(initializer(seed), (name) => name.endsWith("attn.qkv.weight"));
  const g = new GraphBuilder("initial-weights");
  const parameters = new TrainedParameters(g, weights);
  const backbone = encoderArchitecture(config.model_type, "config").build(config, parameters);
  // The graph needs for each tensor that there is.
  backbone.states(g.input("input", "float32", ["batch", ...backbone.inputShape]));
  const heads = new Map(
    Array.from([...classes, ...patchLabels], ([attribute, { length }]) => [attribute, length]),
  );
  if (slots) heads.set(SLOT, slots.tables.width);
  const random = [...weights.tensors, ...initialHeads(heads, backbone.width, seed)];
  return new Map(random.map(([name, tensor]) => [name, start.get(name) ?? tensor]));
}

/** As published for transformers over patches: linears Xavier-uniform, tokens and positions of deviation 0.02. */
function initializer(seed: number): Initializer {
  const [random = Math.random] = randomStreams(seed, 1);
  return (name, shape) => {
    if (/(_token|_embed)$/.test(name)) return normal(random, shape, 0.02);
    if (name.endsWith(".bias")) return filled(shape, 0);
    return /norm\d?\.weight$/.test(name) ? filled(shape, 1) : xavierUniform(random, shape);
  };
}

/** Of everything that decides about the weights, but for the inputs and the start themselves. */
function fingerprintOf({
  start,
  output,
  tests,
  testEvery,
  checkpointEvery,
  threads,
  training,
  slots,
  ...settings
}: EncoderTrainingOptions) {
  const labels = training.examples.map((example) => example.labels);
  return createHash("sha256")
    .update(
      JSON.stringify([
        settings,
        slots && [slots.tables.width, slots.attributes],
        Array.from(start?.keys() ?? []),
        labels,
        Array.from(training.patchLabels ?? []),
      ]),
    )
    .digest("hex");
}
