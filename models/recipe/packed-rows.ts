import type { Feeds } from "../../src/runtime/session.js";
import { END_TOKEN } from "./byte-pair-encoding.js";

/** Texts side by side in rows of one length: none sees another, and each counts its own positions. */
export type PackedRow = readonly (readonly number[])[];

/** Fills rows in the order of the texts; a text that does not fit a row ends where the row does. */
export function packRows(texts: Iterable<readonly number[]>, length: number): PackedRow[] {
  const rows: PackedRow[] = [];
  let row: (readonly number[])[] = [];
  let used = 0;
  for (const text of texts) {
    // The start token stands before each text, its end is only a target: n tokens take n + 1 places.
    const cut = text.slice(0, length - 1);
    if (used + cut.length + 1 > length) {
      rows.push(row);
      [row, used] = [[], 0];
    }
    row.push(cut);
    used += cut.length + 1;
  }
  return used > 0 ? [...rows, row] : rows;
}

/** Inputs of the language model's graph. */
export function packedFeeds(rows: readonly PackedRow[], length: number): Feeds {
  const places = rows.length * length;
  const ids = new BigInt64Array(places);
  const positions = new BigInt64Array(places).fill(-1n);
  const targets = new BigInt64Array(places);
  const weights = new Float32Array(places);
  const visible = new Uint8Array(places * length);
  rows.forEach((row, rowIndex) => {
    let start = 0;
    for (const text of row) {
      for (let i = 0; i <= text.length; i++) {
        const at = rowIndex * length + start + i;
        ids[at] = BigInt(i === 0 ? END_TOKEN : (text[i - 1] as number));
        positions[at] = BigInt(i);
        targets[at] = BigInt(text[i] ?? END_TOKEN);
        weights[at] = 1;
        visible.fill(1, at * length + start, at * length + start + i + 1);
      }
      start += text.length + 1;
    }
    // Places that no text takes see themselves: a softmax over nothing is no number.
    for (; start < length; start++) visible[(rowIndex * length + start) * length + start] = 1;
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
