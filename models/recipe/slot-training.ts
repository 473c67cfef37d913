import { gradient } from "../../src/autodiff/gradient.js";
import { type Classes, classesOf, labelFeeds } from "../../src/fedmae/aspects.js";
import type { Labelled } from "../../src/fedmae/labelled-pictures.js";
import { randomStreams } from "../../src/generation/random.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { Graph, Value } from "../../src/graph/ir.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { constantSource, elementCount, type Tensor } from "../../src/tensor/tensor.js";
import { WeightTraining } from "../../src/training/weight-training.js";
import type { HintTables } from "./hint-tables.js";

/** How much more probable a label is, as a logarithm, that a slot holds once than one that it does not hold. */
const SURENESS = 12;
/** What a slot's squared distance from its labels' own weighs, where each aspect's cross-entropy weighs one. */
const DISTANCE_WEIGHT = 1;

const STEPS = 4000;
const BATCH = 256;
const LEARNING_RATE = 1e-3;
const CLIP_NORM = 1;
const optimizer = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 };
const SEED = 0;

/** What the language model has learnt of labels. */
export type LabelSlots = Pick<HintTables, "width" | "slotOf">;

export interface SlotExamples {
  /** States, whitened: [dv] each. */
  readonly states: readonly Float32Array[];
  readonly examples: readonly Labelled[];
}

/** A linear map of states to slots: [d, dv] and [d]. */
export interface SlotMap {
  readonly weight: Tensor;
  readonly bias: Tensor;
}

/**
 * Trains a linear map until its slots tell the examples' labels apart: by the softmax of how much of each label a slot
 * holds, its product with the label's own slot. The map that comes nearest to the labels' slots does not: of many names
 * it finds the likeliest seldom (Hastie et al. 2009, section 4.2: some classes are masked by others).
 */
export async function trainSlots(
  { states, examples }: SlotExamples,
  tables: LabelSlots,
  start: SlotMap,
): Promise<SlotMap> {
  const classes = classesOf(examples);
  const width = states[0]?.length ?? 0;
  const training = await WeightTraining.open(encodeOnnx(slotGraph(classes, tables, width)), {
    weights: new Map(Object.entries(start)),
    optimizer,
  });
  const targets = examples.map(({ labels }) => tables.slotOf(labels));
  const [random = Math.random] = randomStreams(SEED, 1);
  for (let step = 0; step < STEPS; step++) {
    const rows = Array.from({ length: BATCH }, () => Math.floor(random() * examples.length));
    const chosen = <T>(of: readonly T[]) => rows.map((row) => of[row] as T);
    await training.add({
      states: stacked(chosen(states), [width]),
      targets: stacked(chosen(targets), [tables.width]),
      ...labelFeeds(classes, chosen(examples)),
    });
    training.step({
      clipNorm: CLIP_NORM,
      sizeOf: () => ({ learningRate: LEARNING_RATE * (1 - step / STEPS), weightDecay: 0 }),
    });
  }
  const { weight = start.weight, bias = start.bias } = Object.fromEntries(training.weights);
  await training.close();
  return { weight, bias };
}

/**
 * Inputs: `states` [B, dv], `targets` [B, d], `weight` [d, dv], `bias` [d], and `labels of ASPECT` and
 * `weights of ASPECT` as `labelFeeds` makes them. Outputs: `loss`, `gradient of weight`, `gradient of bias`.
 */
function slotGraph(classes: Classes, tables: LabelSlots, width: number): Graph {
  const g = new GraphBuilder("slot-training");
  const weight = g.input("weight", "float32", [tables.width, width]);
  const states = g.input("states", "float32", ["batch", width]);
  const slots = g.add(
    g.matmul(states, g.transpose(weight, [1, 0])),
    g.input("bias", "float32", [tables.width]),
  );
  const away = g.subtract(slots, g.input("targets", "float32", ["batch", tables.width]));
  const squares = g.sum(g.multiply(away, away), [0, 1], false);
  let loss = g.multiply(squares, g.number(DISTANCE_WEIGHT / BATCH));
  for (const [aspect, labels] of classes) loss = g.add(loss, aspectLoss(aspect, labels));
  g.output("loss", loss);
  return gradient(g.finish(), "loss", ["weight", "bias"]);

  function aspectLoss(aspect: string, labels: readonly string[]): Value {
    const scores = g.matmul(slots, g.weight(`table of ${aspect}`, labelTable(aspect, labels)));
    const { loss: each } = g.crossEntropy(scores, g.input(`labels of ${aspect}`, "int64", ["batch"]));
    return g.sum(g.multiply(each, g.input(`weights of ${aspect}`, "float32", ["batch"])), [0], false);
  }

  /** [d, labels]: what a slot is multiplied by, so that one which holds a label once gives `SURENESS`. */
  function labelTable(aspect: string, labels: readonly string[]) {
    const data = new Float32Array(tables.width * labels.length);
    labels.forEach((label, column) => {
      const own = tables.slotOf({ [aspect]: label });
      const square = own.reduce((sum, value) => sum + value * value, 0);
      own.forEach((value, row) => {
        data[row * labels.length + column] = (SURENESS * value) / square;
      });
    });
    return constantSource("float32", [tables.width, labels.length], data);
  }
}

/** Rows of the same shape as one tensor. */
export function stacked(rows: readonly Float32Array[], shape: readonly number[]): Tensor {
  const width = elementCount(shape);
  const data = new Float32Array(rows.length * width);
  rows.forEach((row, index) => {
    data.set(row, index * width);
  });
  return { type: "float32", shape: [rows.length, ...shape], data };
}

/** The rows of a tensor, without a copy. */
export function rowsOf({ shape: [count = 0, ...inner], data }: Tensor): Float32Array[] {
  const width = elementCount(inner);
  return Array.from({ length: count }, (_, row) =>
    (data as Float32Array).subarray(row * width, (row + 1) * width),
  );
}
