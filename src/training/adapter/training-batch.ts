import type { PerceptionSees } from "../../adapter/injection-plan.js";
import { EpalmError } from "../../core/errors.js";
import type { ElementType, Tensor, TypedArray } from "../../tensor/tensor.js";
import { type PaddedTexts, whoSeesWhom } from "./padded-batch.js";

/** Weights of the targets of a batch in the loss. */
export interface LossWeights {
  /** Weight of the target at an index of a row's text, from 1; 0 if it does not count. */
  weightOf(row: number, place: number): number;
}

/**
 * Inputs of a training graph for whole texts, without the trained tensors. Only targets with a weight above 0 are
 * scored.
 *
 * @param states [B, depth, dv]: the encoder states of each row's medium
 * @throws invalid_option if no target counts, because there is no loss then
 */
export function trainingFeeds(
  { ids, mask }: PaddedTexts,
  states: Tensor,
  softTokens: number,
  perceptionSees: PerceptionSees,
  { weightOf }: LossWeights,
): Readonly<Record<string, Tensor>> {
  const [batch = 0, length = 0] = ids.shape;
  const below = softTokens + length;
  const positions = new BigInt64Array(batch * below);
  const isText = new Uint8Array(batch * below);
  const scored: { row: bigint; target: bigint; weight: number }[] = [];
  for (let row = 0; row < batch; row++) {
    let position = -1n;
    for (let place = 0; place < length; place++) {
      const inText = mask.data[row * length + place] !== 0n;
      if (inText) position++;
      positions[row * below + softTokens + place] = inText ? position : -1n;
      isText[row * below + softTokens + place] = 1;
      const weight = inText && place > 0 ? weightOf(row, place) : 0;
      if (weight === 0) continue;
      // The logits of the token before the target predict it; the slot shifts all indices by one.
      const before = row * (1 + below) + softTokens + place;
      scored.push({ row: BigInt(before), target: BigInt(ids.data[row * length + place] ?? 0), weight });
    }
  }
  if (scored.length === 0)
    throw new EpalmError(
      "invalid_option",
      `batch: expected a token with a weight above 0 in its ${batch} texts, got none`,
    );
  return {
    cls_states: states,
    input_ids: ids,
    position_ids: tensor("int64", [batch, below], positions),
    is_text: tensor("bool", [batch, below], isText),
    visible: whoSeesWhom(mask, softTokens, { perceptionSees }),
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
