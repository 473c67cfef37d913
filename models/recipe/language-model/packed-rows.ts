import type { Feeds } from "../../../src/runtime/session.js";
import type { Tensor } from "../../../src/tensor/tensor.js";
import { END_TOKEN } from "./byte-pair-encoding.js";

/** A `Document` as token ids. */
export interface TokenDocument {
  readonly conditioningLabels: readonly TokenizedLabel[];
  readonly texts: readonly TokenText[];
}

export interface TokenizedLabel {
  readonly ids: readonly number[];
  /** Row of the table of attribute vectors. */
  readonly attribute: number;
  readonly weight: number;
}

export interface TokenText {
  readonly ids: readonly number[];
  /** Number of leading tokens that are not learned. */
  readonly known: number;
}

/** Documents side by side in a row of fixed length; no document attends to another. */
export type PackedRow = readonly TokenDocument[];

/**
 * Fills rows with the documents in their order. If a document does not fit into a row, its first text is cut to fit,
 * and other texts that do not fit are left out.
 */
export function packRows(documents: Iterable<TokenDocument>, length: number): PackedRow[] {
  const rows: PackedRow[] = [];
  let row: TokenDocument[] = [];
  let used = 0;
  for (const whole of documents) {
    const document = cut(whole, length);
    const places = placesOf(document);
    if (used + places > length) {
      rows.push(row);
      [row, used] = [[], 0];
    }
    row.push(document);
    used += places;
  }
  return used > 0 ? [...rows, row] : rows;
}

/** The start token precedes each text and its end is only a target, so n tokens take n + 1 places. */
function placesOf({ conditioningLabels, texts }: TokenDocument): number {
  return texts.reduce((sum, { ids }) => sum + ids.length + 1, slotsOf(conditioningLabels));
}

/** All conditioning labels share one place, the slot. */
function slotsOf(conditioningLabels: readonly TokenizedLabel[]): number {
  return conditioningLabels.length > 0 ? 1 : 0;
}

function cut({ conditioningLabels, texts }: TokenDocument, length: number): TokenDocument {
  const kept: TokenText[] = [];
  let rest = length - slotsOf(conditioningLabels);
  for (const text of texts) {
    if (kept.length > 0 && text.ids.length >= rest) continue;
    kept.push({ ...text, ids: text.ids.slice(0, rest - 1) });
    rest -= Math.min(rest, text.ids.length + 1);
  }
  return { conditioningLabels, texts: kept };
}

/** Inputs of `languageModelGraph`. The positions of each text count from zero; the slot has no position (-1). */
export function packedFeeds(rows: readonly PackedRow[], length: number): Feeds {
  const places = rows.length * length;
  const ids = new BigInt64Array(places);
  const positions = new BigInt64Array(places).fill(-1n);
  const targets = new BigInt64Array(places);
  const weights = new Float32Array(places);
  const visible = new Uint8Array(places * length);
  const slotOf = new BigInt64Array(places);
  const slots: (readonly TokenizedLabel[])[] = [];
  rows.forEach((row, rowIndex) => {
    const first = rowIndex * length;
    let next = 0;
    const see = (place: number, from: number, to: number) =>
      visible.fill(1, (first + place) * length + from, (first + place) * length + to);
    for (const { conditioningLabels, texts } of row) {
      const slot = next;
      if (slotsOf(conditioningLabels) > 0) {
        slotOf[first + slot] = BigInt(slots.push(conditioningLabels));
        see(slot, slot, slot + 1);
        next++;
      }
      for (const text of texts) {
        const own = next;
        for (let i = 0; i <= text.ids.length; i++) {
          ids[first + next] = BigInt(text.ids[i - 1] ?? END_TOKEN);
          positions[first + next] = BigInt(i);
          targets[first + next] = BigInt(text.ids[i] ?? END_TOKEN);
          weights[first + next] = i < text.known ? 0 : 1;
          see(next, slot, slot + slotsOf(conditioningLabels));
          see(next, own, next + 1);
          next++;
        }
      }
    }
    // Unused places attend to themselves, because a softmax over no places is NaN.
    for (; next < length; next++) see(next, next, next + 1);
  });
  const scored = weights.reduce((sum, weight) => sum + weight, 0);
  const shape = [rows.length, length];
  return {
    input_ids: { type: "int64", shape, data: ids },
    position_ids: { type: "int64", shape, data: positions },
    visible: { type: "bool", shape: [...shape, length], data: visible },
    slot_of: { type: "int64", shape, data: slotOf },
    ...conditioningFeeds(slots),
    target_ids: { type: "int64", shape: [places], data: targets },
    target_weights: { type: "float32", shape: [places], data: weights.map((weight) => weight / scored) },
  };
}

/** One row per slot, after a first row for places that are not slots. Rows are padded with labels of weight 0. */
function conditioningFeeds(slots: readonly (readonly TokenizedLabel[])[]): Record<string, Tensor> {
  const tokens = slots.map((conditioningLabels) =>
    conditioningLabels.flatMap(({ ids, attribute, weight }) =>
      ids.map((id) => ({ id, attribute, weight: weight / ids.length })),
    ),
  );
  const most = Math.max(1, ...tokens.map(({ length }) => length));
  const shape = [slots.length + 1, most];
  const ids = new BigInt64Array((slots.length + 1) * most);
  const attributes = new BigInt64Array(ids.length);
  const weights = new Float32Array(ids.length);
  tokens.forEach((row, index) => {
    row.forEach(({ id, attribute, weight }, place) => {
      const at = (index + 1) * most + place;
      ids[at] = BigInt(id);
      attributes[at] = BigInt(attribute);
      weights[at] = weight;
    });
  });
  return {
    hint_ids: { type: "int64", shape, data: ids },
    hint_aspects: { type: "int64", shape, data: attributes },
    hint_weights: { type: "float32", shape, data: weights },
  };
}
