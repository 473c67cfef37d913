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
 * Inputs of a training graph for whole texts, without the trained tensors. Only targets with a weight above 0 are
 * scored.
 *
 * @throws invalid_option if no target counts, because there is no loss then
 */
export function trainingFeeds(
  { ids, mask }: PaddedTexts,
  { states, textBefore = [] }: TrainingMedia,
  layout: TrainingLayout,
  { weightOf }: LossWeights,
): Readonly<Record<string, Tensor>> {
  const { front, softTokens, frontAtEnd, slotSees } = layout;
  const [batch = 0, length = 0] = ids.shape;
  const [lead, visual] = [front + softTokens, slotSees === undefined ? front : 0];
  const width = lead + length;
  const positions = new BigInt64Array(batch * width);
  const hasPosition = new Uint8Array(batch * width);
  const scored: { row: bigint; target: bigint; weight: number }[] = [];
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
      const weight = inText && place > 0 ? weightOf(row, place) : 0;
      if (weight === 0) continue;
      // The logits of the token before the target predict it.
      const predicting = row * (frontAtEnd + softTokens + length) + frontAtEnd + softTokens + place - 1;
      scored.push({ row: BigInt(predicting), target: BigInt(ids.data[row * length + place] ?? 0), weight });
    }
  }
  if (scored.length === 0)
    throw new EpalmError(
      "invalid_option",
      `batch: expected a token with a weight above 0 in its ${batch} texts, got none`,
    );
  return {
    [visual > 0 ? "patch_states" : "cls_states"]: states,
    input_ids: ids,
    position_ids: tensor("int64", [batch, width], positions),
    has_position: tensor("bool", [batch, width], hasPosition),
    visible: whoSeesWhom(mask, layout, textBefore),
    scored_rows: tensor(
      "int64",
      [scored.length],
      BigInt64Array.from(scored, ({ row }) => row),
    ),
    target_ids: tensor(
      "int64",
      [scored.length],
      BigInt64Array.from(scored, ({ target }) => target),
    ),
    target_weights: tensor(
      "float32",
      [scored.length],
      Float32Array.from(scored, ({ weight }) => weight),
    ),
  };
}

function tensor(type: ElementType, shape: readonly number[], data: TypedArray): Tensor {
  return { type, shape, data };
}
