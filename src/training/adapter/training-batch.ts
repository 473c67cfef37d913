import { EpalmError } from "../../core/errors.js";
import type { ElementType, Tensor, TypedArray } from "../../tensor/tensor.js";
import { type PaddedTexts, type RowLayout, whoSeesWhom } from "./padded-batch.js";

/** Weights of the targets of a batch in the loss. */
export interface LossWeights {
  /** Weight of the target at an index of a row's text, from 1; 0 if it does not count. */
  weightOf(row: number, place: number): number;
}

/** The rows of a training graph: those of the layout, without visual tokens that have left the decoder at its end. */
export interface TrainingLayout extends RowLayout {
  /** Number of front tokens among the states of the last layer. */
  readonly frontAtEnd: number;
}

/** The media of a training batch. */
export interface TrainingMedia {
  /** The encoder states of each row's medium: `cls_states` [B, depth, dv] or `patch_states` [B, D, N, dv]. */
  readonly states: Tensor;
  /** Number of text tokens of each row before its visual tokens. Default: 0. */
  readonly textBefore?: readonly number[] | undefined;
}

/**
 * Inputs of a training graph for texts, without the trained tensors. Only targets with a weight above 0 are scored, and
 * columns after the last token that predicts one are left out, unless the slot attends to them.
 *
 * @throws invalid_option if no target counts, because there is no loss then
 */
export function trainingFeeds(
  texts: PaddedTexts,
  { states, textBefore = [] }: TrainingMedia,
  layout: TrainingLayout,
  { weightOf }: LossWeights,
): Readonly<Record<string, Tensor>> {
  const { front, softTokens, frontAtEnd, slotSees } = layout;
  const targets = targetsOf(texts, weightOf);
  const needed = targets.reduce((most, { place }) => Math.max(most, place), 0);
  const { ids, mask } = slotSees === "everything" ? texts : firstColumns(texts, needed);
  const [batch = 0, length = 0] = ids.shape;
  const [lead, visual] = [front + softTokens, slotSees === undefined ? front : 0];
  const width = lead + length;
  const positions = new BigInt64Array(batch * width);
  const hasPosition = new Uint8Array(batch * width);
  for (let row = 0; row < batch; row++) {
    const [start, before] = [row * width, textBefore[row] ?? 0];
    for (let token = 0; token < visual; token++) positions[start + token] = BigInt(before + token);
    hasPosition.fill(1, start, start + visual);
    let position = -1;
    for (let place = 0; place < length; place++) {
      const inText = mask.data[row * length + place] !== 0n;
      if (inText) position++;
      positions[start + lead + place] = BigInt(!inText ? -1 : position < before ? position : position + visual);
      hasPosition[start + lead + place] = 1;
    }
  }
  // The logits of the token before a target predict it.
  const predicting = ({ row, place }: Target) =>
    row * (frontAtEnd + softTokens + length) + frontAtEnd + softTokens + place - 1;
  const list = [targets.length];
  return {
    [visual > 0 ? "patch_states" : "cls_states"]: states,
    input_ids: ids,
    position_ids: tensor("int64", [batch, width], positions),
    has_position: tensor("bool", [batch, width], hasPosition),
    visible: whoSeesWhom(mask, layout, textBefore),
    scored_rows: tensor(
      "int64",
      list,
      BigInt64Array.from(targets, (target) => BigInt(predicting(target))),
    ),
    target_ids: tensor(
      "int64",
      list,
      BigInt64Array.from(targets, ({ id }) => id),
    ),
    target_weights: tensor(
      "float32",
      list,
      Float32Array.from(targets, ({ weight }) => weight),
    ),
  };
}

/** A token that counts in the loss. */
interface Target {
  readonly row: number;
  /** Column of the text, from 1. */
  readonly place: number;
  readonly id: bigint;
  readonly weight: number;
}

function targetsOf({ ids, mask }: PaddedTexts, weightOf: LossWeights["weightOf"]): readonly Target[] {
  const [batch = 0, length = 0] = ids.shape;
  const targets: Target[] = [];
  for (let row = 0; row < batch; row++) {
    for (let place = 1; place < length; place++) {
      const index = row * length + place;
      const weight = mask.data[index] === 0n ? 0 : weightOf(row, place);
      if (weight !== 0) targets.push({ row, place, id: BigInt(ids.data[index] ?? 0), weight });
    }
  }
  if (targets.length > 0) return targets;
  throw new EpalmError(
    "invalid_option",
    `batch: expected a token with a weight above 0 in its ${batch} texts, got none`,
  );
}

/** [B, T] -> [B, count] */
function firstColumns({ ids, mask }: PaddedTexts, count: number): PaddedTexts {
  const [batch = 0, length = 0] = ids.shape;
  const shortened = ({ type, data }: Tensor) => {
    const kept = new BigInt64Array(batch * count);
    for (let row = 0; row < batch; row++) {
      for (let place = 0; place < count; place++) kept[row * count + place] = BigInt(data[row * length + place] ?? 0);
    }
    return tensor(type, [batch, count], kept);
  };
  return { ids: shortened(ids), mask: shortened(mask) };
}

function tensor(type: ElementType, shape: readonly number[], data: TypedArray): Tensor {
  return { type, shape, data };
}
