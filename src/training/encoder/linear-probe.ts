import { gradient } from "../../autodiff/gradient.js";
import { vit } from "../../backbones/encoders/vit.js";
import { ParameterReader } from "../../backbones/parameters.js";
import { weightsInMemory } from "../../backbones/weights-in-memory.js";
import { randomStreams, shuffled } from "../../core/random.js";
import { GraphBuilder } from "../../graph/builder.js";
import type { Graph } from "../../graph/ir.js";
import { encodeOnnx } from "../../graph/onnx-writer.js";
import { linear } from "../../layers/linear.js";
import { openSession, type SessionOptions } from "../../runtime/session.js";
import { floats } from "../../tensor/tensor.js";
import { ImageBatches } from "../data/image-batches.js";
import type { LabelledImage } from "../data/labelled-images.js";
import { filled, normal } from "../distributions.js";
import { fit } from "../fit.js";
import { InitialWeights } from "../initial-weights.js";
import { stacked } from "../rows.js";
import { learningRateShare } from "../schedule.js";
import { TrainedParameters } from "../trained-parameters.js";
import { WeightTraining } from "../weight-training.js";
import { type Classes, countRight, trainingClasses } from "./attributes.js";
import type { EncoderFolder } from "./encoder-folder.js";
import { vitConfigOf } from "./finetune.js";
import type { Accuracies } from "./train-encoder.js";

/** Options of `linearProbe`. */
export interface ProbeOptions extends SessionOptions {
  /** Input of the classifier from the last block: class token or mean of the patches; both are published. */
  readonly pool: "cls" | "mean";
  readonly training: readonly LabelledImage[];
  readonly test: readonly LabelledImage[];
  readonly epochs: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly seed: number;
  readonly onImages?: ((done: number, all: number) => void) | undefined;
}

/** Images per run of the encoder. */
const ENCODER_BATCH = 32;

/**
 * Measures how much the states of a frozen encoder's last block reveal about the labels. The states are computed once
 * and normalised to mean 0 and std 1 per channel (in place of the published probe's batch norm); then one linear
 * classifier per attribute is trained on them. Returns the accuracies on the test images.
 *
 * @throws invalid_data if the labels cannot be learnt or tested; diverged
 *
 * @example
 * ```ts
 * import { linearProbe, readEncoderFolder, readLabelledImages } from "epalm/fedmae";
 * const accuracies = await linearProbe(await readEncoderFolder("encoder"), {
 *   pool: "mean",
 *   training: await readLabelledImages(["plants/train"]),
 *   test: await readLabelledImages(["plants/test"]),
 *   epochs: 90,
 *   batchSize: 256,
 *   learningRate: 1e-3,
 *   weightDecay: 0,
 *   seed: 0,
 * });
 * ```
 */
export async function linearProbe(encoder: EncoderFolder, options: ProbeOptions): Promise<Accuracies> {
  const { training, test, onImages } = options;
  const classes = trainingClasses(training, test);
  const all = training.length + test.length;
  const train = await pooledStates(encoder, training, options, (done) => onImages?.(done, all));
  const held = await pooledStates(encoder, test, options, (done) => onImages?.(training.length + done, all));
  const width = encoder.config.hidden_size;
  const scale = channelScale(train, width);
  standardize(train, scale);
  standardize(held, scale);
  const accuracies = new Map<string, number>();
  for (const [attribute, labels] of classes) {
    const classes: Classes = new Map([[attribute, labels]]);
    const logits = await trainHead(train, held, attribute, classes, width, options);
    const { right, all: asked } = countRight(logits, labels, test, attribute);
    if (asked > 0) accuracies.set(attribute, right / asked);
  }
  return accuracies;
}

/** States [N, d], in the order of the images. */
async function pooledStates(
  encoder: EncoderFolder,
  images: readonly LabelledImage[],
  { pool, threads }: ProbeOptions,
  onImages: (done: number) => void,
): Promise<Float32Array> {
  const config = vitConfigOf(encoder.config);
  const session = await openSession(encodeOnnx(poolingGraph(encoder, pool)), { threads });
  const width = config.hidden_size;
  const result = new Float32Array(images.length * width);
  const batches = new ImageBatches(
    images.map(({ path }) => path),
    { imageSize: config.image_size, batchSize: ENCODER_BATCH },
  );
  let done = 0;
  for await (const { pixels, indices } of batches.epoch()) {
    const { pooled } = await session.run({ pixels }, ["pooled"]);
    const states = floats(pooled);
    indices.forEach((index, row) => {
      result.set(states.subarray(row * width, (row + 1) * width), index * width);
    });
    done += indices.length;
    onImages(done);
  }
  await session.close();
  return result;
}

/** `pixels` [B, 3, H, W] -> `pooled` [B, d] */
function poolingGraph(encoder: EncoderFolder, pool: ProbeOptions["pool"]): Graph {
  const config = vitConfigOf(encoder.config);
  const g = new GraphBuilder("pooling");
  const backbone = vit(config, new ParameterReader(g, weightsInMemory(encoder.tensors, "encoder")));
  const pixels = g.input("pixels", "float32", ["batch", ...backbone.inputShape]);
  const { classTokens, patches } = backbone.through(pixels);
  const states = pool === "cls" ? g.slice(classTokens, 1, -1) : g.mean(patches(), 1);
  g.output("pooled", g.reshape(states, [-1, config.hidden_size]));
  return g.finish();
}

interface ChannelScale {
  readonly mean: Float64Array;
  readonly std: Float64Array;
}

/** Prevents a division by zero for channels that never vary. */
const EPSILON = 1e-6;

function channelScale(states: Float32Array, width: number): ChannelScale {
  const count = states.length / width;
  const [mean, squares] = [new Float64Array(width), new Float64Array(width)];
  states.forEach((value, at) => {
    mean[at % width] = Number(mean[at % width]) + value / count;
  });
  states.forEach((value, at) => {
    const difference = value - Number(mean[at % width]);
    squares[at % width] = Number(squares[at % width]) + difference ** 2 / count;
  });
  return { mean, std: squares.map((square) => Math.sqrt(square + EPSILON)) };
}

function standardize(states: Float32Array, { mean, std }: ChannelScale): void {
  const width = mean.length;
  states.forEach((value, at) => {
    states[at] = (value - Number(mean[at % width])) / Number(std[at % width]);
  });
}

/** Trains the head of one attribute and returns the logits of the held-out states, [M, C]. */
async function trainHead(
  train: Float32Array,
  held: Float32Array,
  attribute: string,
  classes: Classes,
  width: number,
  { training: examples, epochs, batchSize, learningRate, weightDecay, seed, threads }: ProbeOptions,
): Promise<Float32Array> {
  const labels = classes.get(attribute) ?? [];
  const [random = Math.random, order = Math.random] = randomStreams(seed, 2);
  const initial = new InitialWeights((name, shape) =>
    name.endsWith(".bias") ? filled(shape, 0) : normal(random, shape, 0.01),
  );
  const g = new GraphBuilder("probe");
  const parameters = new TrainedParameters(g, initial);
  const states = g.input("states", "float32", ["batch", width]);
  const targets = g.input("labels", "int64", ["batch"]);
  const logits = g.output("logits", linear(g, states, parameters.linear("head", width, labels.length, { bias: true })));
  g.output("loss", g.squeeze(g.mean(g.crossEntropy(logits, targets).loss, 0), 0));
  const graph = gradient(g.finish(), "loss", parameters.trained);
  const training = await WeightTraining.open(
    encodeOnnx(graph),
    { weights: initial.tensors, optimizer: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 } },
    { threads },
  );
  const known = examples.flatMap(({ labels: own }, row) => (own[attribute] === undefined ? [] : [row]));
  const schedule = {
    steps: epochs * Math.ceil(known.length / batchSize),
    warmupSteps: 0,
    startShare: 0,
    endShare: 0,
  };
  await fit(training, {
    async *batches() {
      let rows = known;
      for (let epoch = 0; epoch < epochs; epoch++) {
        rows = shuffled(rows, order);
        for (let start = 0; start < rows.length; start += batchSize) {
          const chosen = rows.slice(start, start + batchSize);
          const truth = chosen.map((row) => BigInt(labels.indexOf(examples[row]?.labels[attribute] ?? "")));
          yield [
            {
              states: stacked(
                chosen.map((row) => train.subarray(row * width, (row + 1) * width)),
                [width],
              ),
              labels: { type: "int64", shape: [chosen.length], data: BigInt64Array.from(truth) },
            },
          ];
        }
      }
    },
    rateShare: (step) => learningRateShare(schedule, step),
    stepSize: (_name, share) => ({ learningRate: learningRate * share, weightDecay }),
  });
  const count = held.length / width;
  const results = await training.evaluate(
    {
      states: { type: "float32", shape: [count, width], data: held },
      // Unused: the graph also has the loss as an output, which needs labels.
      labels: { type: "int64", shape: [count], data: new BigInt64Array(count) },
    },
    ["logits"],
  );
  await training.close();
  return floats(results.logits);
}
