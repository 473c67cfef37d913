import type { GraphBuilder } from "../../../src/graph/builder.js";
import type { Value } from "../../../src/graph/ir.js";
import { constantSource, type Tensor, type TensorSource } from "../../../src/tensor/tensor.js";
import { type Classes, type Labelled, stacked } from "../../../src/training/index.js";
import type { ConditioningTables } from "../language-model/conditioning-tables.js";

/** The loss of slots, which compares them with the vectors that the language model reads as labels. */

/** The vectors that the language model has learned for labels. */
export type LabelSlots = Pick<ConditioningTables, "width" | "slotOf">;

/** Logit of a label that a slot contains once; a label that it does not contain has the logit 0. */
const LOGIT_SCALE = 12;

/**
 * Loss of slots [B, d]: the squared distance to the slots of the labels, averaged over the batch, plus each attribute's
 * cross-entropy. The logit of a label is proportional to the dot product of the slot and the label's own slot. The
 * distance alone does not distinguish labels: among many names, it rarely finds the most probable one (Hastie et al.
 * 2009, section 4.2: some classes are masked by others). Adds the input `targets` [B, d] and the outputs `slot
 * logits of ATTRIBUTE` [B, C]; uses the graph's values `labels of ATTRIBUTE` and `weights of ATTRIBUTE`
 * (`attributeTargets`).
 */
export function slotLoss(g: GraphBuilder, slots: Value, classes: Classes, tables: LabelSlots): Value {
  const away = g.subtract(slots, g.input("targets", "float32", ["batch", tables.width]));
  let loss = g.squeeze(g.mean(g.sum(g.multiply(away, away), [1], false), 0), 0);
  for (const [attribute, labels] of classes) {
    const table = g.weight(`table of ${attribute}`, labelTable(attribute, labels, tables));
    const scores = g.output(`slot logits of ${attribute}`, g.matmul(slots, table));
    const { loss: each } = g.crossEntropy(scores, g.value(`labels of ${attribute}`));
    loss = g.add(loss, g.sum(g.multiply(each, g.value(`weights of ${attribute}`)), [0], false));
  }
  return loss;
}

/** The matrix [d, labels] that turns slots into logits: a slot that contains a label once gives `LOGIT_SCALE`. */
function labelTable(attribute: string, labels: readonly string[], tables: LabelSlots): TensorSource {
  const data = new Float32Array(tables.width * labels.length);
  labels.forEach((label, column) => {
    const own = tables.slotOf({ [attribute]: label });
    const square = own.reduce((sum, value) => sum + value * value, 0);
    own.forEach((value, row) => {
      data[row * labels.length + column] = (LOGIT_SCALE * value) / square;
    });
  });
  return constantSource("float32", [tables.width, labels.length], data);
}

/** The inputs of `slotLoss`, in addition to those of `labelFeeds`. */
export function slotFeeds(tables: LabelSlots, examples: readonly Labelled[]): Record<string, Tensor> {
  return {
    targets: stacked(
      examples.map(({ labels }) => tables.slotOf(labels)),
      [tables.width],
    ),
  };
}
