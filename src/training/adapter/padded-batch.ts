import type { InjectionPlan, PerceptionSees } from "../../adapter/injection-plan.js";
import type { DecoderShape } from "../../backbones/backbone.js";
import { EMPTY_TIME, KeyValueCache } from "../../generation/key-value-cache.js";
import { statesByLayer } from "../../generation/sequence.js";
import type { ElementType, Tensor, TypedArray } from "../../tensor/tensor.js";

/** Texts of a batch, padded on the right to one length T, as in the published training. */
export interface PaddedTexts {
  /** int64 [B, T] */
  readonly ids: Tensor;
  /** int64 [B, T]: 1 for text, 0 for padding. */
  readonly mask: Tensor;
}

/**
 * Inputs of the decoder graph for whole texts, with rows `[slot, P soft tokens, T text tokens]` and a scored target for
 * every token. As published, padding has position -1, and a slot that sees everything also sees padding.
 *
 * @param perception [B, K, d]
 * @param prompt [P, E]
 */
export function paddedBatchFeeds(
  { ids, mask }: PaddedTexts,
  perception: Tensor,
  prompt: Tensor,
  plan: InjectionPlan,
  shape: DecoderShape,
): Readonly<Record<string, Tensor>> {
  const [batch = 0, length = 0] = ids.shape;
  const softTokens = prompt.shape[0] ?? 0;
  const lead = 1 + softTokens;
  const width = lead + length;
  const inputIds = new BigInt64Array(batch * width);
  const positions = new BigInt64Array(batch * width);
  const targets = new BigInt64Array(batch * width);
  const perceptionKeys = new Uint8Array(batch * width);
  const hasPosition = new Uint8Array(batch * width).fill(1);
  for (let row = 0; row < batch; row++) {
    const start = row * width;
    perceptionKeys[start] = 1;
    for (let soft = 0; soft < softTokens; soft++) inputIds[start + 1 + soft] = BigInt(shape.vocabulary + soft);
    hasPosition.fill(0, start + 1, start + lead);
    let position = -1n;
    for (let place = 0; place < length; place++) {
      const id = BigInt(ids.data[row * length + place] ?? 0);
      const isText = mask.data[row * length + place] !== 0n;
      if (isText) position++;
      inputIds[start + lead + place] = id;
      positions[start + lead + place] = isText ? position : -1n;
      targets[start + lead + place - 1] = id;
    }
  }
  return {
    input_ids: tensor("int64", [batch, width], inputIds),
    position_ids: tensor("int64", [batch, width], positions),
    has_position: tensor("bool", [batch, width], hasPosition),
    visible: behindEmptyCache(whoSeesWhom(mask, { front: 1, softTokens, slotSees: plan.perceptionSees })),
    perception_keys: behindEmptyCache(tensor("bool", [batch, width], perceptionKeys)),
    perception_visible: perLayer(batch, plan.visible),
    perception_overwrites: perLayer(
      batch,
      plan.stateAt.map((state) => state !== undefined),
    ),
    perception_states: spreadStates(perception, plan),
    soft_prompt: prompt,
    scored_rows: tensor(
      "int64",
      [batch * width],
      BigInt64Array.from({ length: batch * width }, (_, i) => BigInt(i)),
    ),
    target_ids: tensor("int64", [batch * width], targets),
    top_count: tensor("int64", [1], BigInt64Array.of(1n)),
    ...new KeyValueCache(shape).feeds(0, batch, true),
  };
}

/** The tokens of a row besides text. Rows are `[F front tokens, P soft tokens, T text tokens]`. */
export interface RowLayout {
  /** F: 1 for the perceptual slot, or the number of visual tokens. */
  readonly front: number;
  /** P */
  readonly softTokens: number;
  /** What the slot attends to; undefined if the front tokens are visual tokens. */
  readonly slotSees?: PerceptionSees | undefined;
}

/**
 * Which tokens attend to which: bool [B, F + P + T, F + P + T]. As published, a slot that sees everything also sees
 * padding. Visual tokens attend like text.
 *
 * @param mask int64 [B, T]: 1 for text, 0 for padding
 * @param textBefore number of text tokens of each row before its visual tokens. Default: 0
 */
export function whoSeesWhom(mask: Tensor, layout: RowLayout, textBefore: readonly number[] = []): Tensor {
  const { front, softTokens, slotSees } = layout;
  const [batch = 0, length = 0] = mask.shape;
  const lead = front + softTokens;
  const width = lead + length;
  const visible = new Uint8Array(batch * width * width);
  for (let row = 0; row < batch; row++) {
    const isKey = (column: number) => column < lead || mask.data[row * length + column - lead] !== 0n;
    const places = Array.from({ length: width }, (_, column) => placeOf(column, layout, textBefore[row] ?? 0));
    for (let token = 0; token < width; token++) {
      const isSlot = slotSees !== undefined && token === 0;
      for (let key = 0; key < width; key++) {
        const before = Number(places[key]) <= Number(places[token]) && isKey(key);
        const sees = isSlot ? key === 0 || slotSees === "everything" : before;
        visible[(row * width + token) * width + key] = Number(sees);
      }
    }
  }
  return tensor("bool", [batch, width, width], visible);
}

/** The place of a column in its sequence: visual tokens may be inside the text. */
function placeOf(column: number, { front, softTokens }: RowLayout, textBefore: number): number {
  if (textBefore === 0) return column;
  if (column < front) return softTokens + textBefore + column;
  return column < front + softTokens + textBefore ? column - front : column;
}

/** [B, K, d] -> [B, layers, d] */
function spreadStates(perception: Tensor, plan: InjectionPlan): Tensor {
  const [batch = 0, states = 0, width = 0] = perception.shape;
  const layers = plan.stateAt.length;
  const data = new Float32Array(batch * layers * width);
  for (let row = 0; row < batch; row++) {
    const own = perception.data.subarray(row * states * width, (row + 1) * states * width);
    data.set(statesByLayer(tensor("float32", [states, width], own), plan), row * layers * width);
  }
  return tensor("float32", [batch, layers, width], data);
}

function perLayer(batch: number, values: readonly boolean[]): Tensor {
  const row = values.map(Number);
  return tensor("bool", [batch, values.length], Uint8Array.from(Array.from({ length: batch }, () => row).flat()));
}

/** A mask over the keys of a step, with the masked keys of an empty cache in front. */
function behindEmptyCache({ type, shape, data }: Tensor): Tensor {
  const width = shape.at(-1) ?? 0;
  const rows = data.length / width;
  const longer = new Uint8Array(rows * (EMPTY_TIME + width));
  for (let row = 0; row < rows; row++) {
    longer.set(data.subarray(row * width, (row + 1) * width) as Uint8Array, row * (EMPTY_TIME + width) + EMPTY_TIME);
  }
  return tensor(type, [...shape.slice(0, -1), EMPTY_TIME + width], longer);
}

function tensor(type: ElementType, shape: readonly number[], data: TypedArray): Tensor {
  return { type, shape, data };
}
