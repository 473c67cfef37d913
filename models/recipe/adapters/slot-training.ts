import { gradient } from "../../../src/autodiff/gradient.js";
import { randomStreams } from "../../../src/core/random.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import type { Graph } from "../../../src/graph/ir.js";
import { encodeOnnx } from "../../../src/graph/onnx-writer.js";
import type { Tensor } from "../../../src/tensor/tensor.js";
import {
  attributeTargets,
  type Classes,
  classesOf,
  fit,
  type Labelled,
  labelFeeds,
  stacked,
  WeightTraining,
} from "../../../src/training/index.js";
import { type LabelSlots, slotFeeds, slotLoss } from "../encoders/slot-loss.js";

const STEPS = 4000;
const BATCH = 256;
const LEARNING_RATE = 1e-3;
const CLIP_NORM = 1;
const optimizer = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 };
const SEED = 0;

export interface SlotExamples {
  /** Whitened states, [dv] each. */
  readonly states: readonly Float32Array[];
  readonly examples: readonly Labelled[];
}

/** A linear map from states to slots: weight [d, dv] and bias [d]. */
export interface SlotMap {
  readonly weight: Tensor;
  readonly bias: Tensor;
}

/** Trains a linear map whose slots distinguish the labels of the examples (`slotLoss`). */
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
  const [random = Math.random] = randomStreams(SEED, 1);
  const drawn = () => Math.floor(random() * examples.length);
  await fit(training, {
    async *batches(done) {
      for (let step = done; step < STEPS; step++) {
        const rows = Array.from({ length: BATCH }, drawn);
        const chosen = rows.flatMap((row) => examples[row] ?? []);
        yield [
          {
            states: stacked(
              rows.flatMap((row) => states[row] ?? []),
              [width],
            ),
            ...slotFeeds(tables, chosen),
            ...labelFeeds(classes, chosen),
          },
        ];
      }
    },
    rateShare: (step) => 1 - step / STEPS,
    stepSize: (_name, share) => ({ learningRate: LEARNING_RATE * share, weightDecay: 0 }),
    clipNorm: CLIP_NORM,
  });
  const { weight = start.weight, bias = start.bias } = Object.fromEntries(training.weights);
  await training.close();
  return { weight, bias };
}

/**
 * Inputs: `states` [B, dv], `weight` [d, dv], `bias` [d] and those of `slotLoss` and `attributeTargets`. Outputs:
 * `loss`, `gradient of weight` and `gradient of bias`.
 */
function slotGraph(classes: Classes, tables: LabelSlots, width: number): Graph {
  const g = new GraphBuilder("slot-training");
  const weight = g.input("weight", "float32", [tables.width, width]);
  const states = g.input("states", "float32", ["batch", width]);
  const slots = g.add(g.matmul(states, g.transpose(weight, [1, 0])), g.input("bias", "float32", [tables.width]));
  for (const attribute of classes.keys()) attributeTargets(g, attribute, "batch");
  g.output("loss", slotLoss(g, slots, classes, tables));
  return gradient(g.finish(), "loss", ["weight", "bias"]);
}
