import type { Feeds } from "../../src/runtime/session.js";
import { END_TOKEN } from "./byte-pair-encoding.js";

/** A document in tokens: see `Document`. */
export interface TokenDocument {
  readonly given: readonly number[];
  readonly texts: readonly TokenText[];
}

export interface TokenText {
  readonly ids: readonly number[];
  /** How many of them, from the first, are not learnt. */
  readonly known: number;
}

/** Documents side by side in rows of one length: none sees another. */
export type PackedRow = readonly TokenDocument[];

/**
 * Fills rows in the order of the documents. Of a document that is longer than a row, what is given is cut, then the
 * first text; other texts that do not fit are left out.
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

/** The start token stands before each text, its end is only a target: n tokens take n + 1 places. */
function placesOf({ given, texts }: TokenDocument): number {
  return texts.reduce((sum, { ids }) => sum + ids.length + 1, given.length);
}

function cut(document: TokenDocument, length: number): TokenDocument {
  const given = document.given.slice(0, length >> 1);
  const texts: TokenText[] = [];
  let rest = length - given.length;
  for (const text of document.texts) {
    if (texts.length > 0 && text.ids.length >= rest) continue;
    texts.push({ ...text, ids: text.ids.slice(0, rest - 1) });
    rest -= Math.min(rest, text.ids.length + 1);
  }
  return { given, texts };
}

/** Inputs of the language model's graph. What is given and each text count their own positions from nought. */
export function packedFeeds(rows: readonly PackedRow[], length: number): Feeds {
  const places = rows.length * length;
  const ids = new BigInt64Array(places);
  const positions = new BigInt64Array(places).fill(-1n);
  const targets = new BigInt64Array(places);
  const weights = new Float32Array(places);
  const visible = new Uint8Array(places * length);
  rows.forEach((row, rowIndex) => {
    const first = rowIndex * length;
    let next = 0;
    const see = (place: number, from: number, to: number) =>
      visible.fill(1, (first + place) * length + from, (first + place) * length + to);
    for (const { given, texts } of row) {
      const start = next;
      given.forEach((id, i) => {
        ids[first + next] = BigInt(id);
        positions[first + next] = BigInt(i);
        see(next, start, next + 1);
        next++;
      });
      for (const text of texts) {
        const own = next;
        for (let i = 0; i <= text.ids.length; i++) {
          ids[first + next] = BigInt(i === 0 ? END_TOKEN : (text.ids[i - 1] as number));
          positions[first + next] = BigInt(i);
          targets[first + next] = BigInt(text.ids[i] ?? END_TOKEN);
          weights[first + next] = i < text.known ? 0 : 1;
          see(next, start, start + given.length);
          see(next, own, next + 1);
          next++;
        }
      }
    }
    // Places that nothing takes see themselves: a softmax over nothing is no number.
    for (; next < length; next++) see(next, next, next + 1);
  });
  const scored = weights.reduce((sum, weight) => sum + weight, 0);
  const shape = [rows.length, length];
  return {
    input_ids: { type: "int64", shape, data: ids },
    position_ids: { type: "int64", shape, data: positions },
    visible: { type: "bool", shape: [...shape, length], data: visible },
    target_ids: { type: "int64", shape: [places], data: targets },
    target_weights: { type: "float32", shape: [places], data: weights.map((weight) => weight / scored) },
  };
}
