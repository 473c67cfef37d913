import type { PatchLayout } from "../backbones/backbone.js";
import { EpalmError } from "../core/errors.js";
import type { GraphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import { constantSource } from "../tensor/tensor.js";

/**
 * Which states become visual tokens: all patches; `pool`: the averages of k x k equal parts of each frame (k parts of a
 * frame of one row); or `pixelShuffle`: r x r neighbouring patches (r of a frame of one row) as one wide state, which
 * keeps their content in fewer tokens (Shi et al. 2016, arXiv 1609.05158).
 */
export type PatchSelection = "all" | { readonly pool: number } | { readonly pixelShuffle: number };

/** The selected states of a medium. */
export interface SelectedPatches {
  /** Per medium. */
  readonly count: number;
  /** Patches whose states are joined in one selected state. */
  readonly joined: number;
}

/** @throws `invalid_adapter` if the grid is smaller than the parts, or cannot be divided into them */
export function selectedPatches(selection: PatchSelection, layout: PatchLayout): SelectedPatches {
  const { frames, rows, columns } = layout;
  if (selection === "all") return { count: frames * rows * columns, joined: 1 };
  if ("pool" in selection) {
    const { pool } = selection;
    const parts = partsOf(pool, layout);
    if (parts.rows <= rows && parts.columns <= columns)
      return { count: frames * parts.rows * parts.columns, joined: 1 };
    throw unsuited(`pool: expected at most ${formatGrid(layout)}, the encoder's patches`, pool);
  }
  const { pixelShuffle } = selection;
  const block = partsOf(pixelShuffle, layout);
  if (rows % block.rows === 0 && columns % block.columns === 0) {
    const joined = block.rows * block.columns;
    return { count: (frames * rows * columns) / joined, joined };
  }
  throw unsuited(`pixelShuffle: expected a divisor of ${formatGrid(layout)}, the encoder's patches`, pixelShuffle);
}

/** Patch states [B, N, dv] -> selected states [B, count, joined * dv]. */
export function selectPatches(g: GraphBuilder, states: Value, selection: PatchSelection, layout: PatchLayout): Value {
  if (selection === "all") return states;
  const { count, joined } = selectedPatches(selection, layout);
  if ("pool" in selection) {
    const [patches, data] = [layout.frames * layout.rows * layout.columns, averages(selection.pool, layout)];
    return g.matmul(g.weight("connector.pooling", constantSource("float32", [count, patches], data)), states);
  }
  const order = BigInt64Array.from(blockOrder(selection.pixelShuffle, layout), BigInt);
  const places = g.weight("connector.pixel_shuffle", constantSource("int64", [order.length], order));
  return g.reshape(g.gather(states, places, 1), [0, count, joined * Number(states.shape.at(-1))]);
}

/** A frame of one row is divided only along it. */
function partsOf(parts: number, { rows }: PatchLayout): { readonly rows: number; readonly columns: number } {
  return { rows: rows === 1 ? 1 : parts, columns: parts };
}

/** Weights of the patches in the average of each part, [count, N]. Parts of unequal size overlap, as in torch. */
function averages(pool: number, layout: PatchLayout): Float32Array {
  const { frames, rows, columns } = layout;
  const parts = partsOf(pool, layout);
  const patches = frames * rows * columns;
  const data = new Float32Array(frames * parts.rows * parts.columns * patches);
  let part = 0;
  for (let frame = 0; frame < frames; frame++) {
    for (let i = 0; i < parts.rows; i++) {
      for (let j = 0; j < parts.columns; j++) {
        const [ofRows, ofColumns] = [range(i, parts.rows, rows), range(j, parts.columns, columns)];
        for (const row of ofRows) {
          for (const column of ofColumns) {
            data[part * patches + (frame * rows + row) * columns + column] = 1 / (ofRows.length * ofColumns.length);
          }
        }
        part++;
      }
    }
  }
  return data;
}

/** The indices of part `index` of `parts` in an axis of `size`. */
function range(index: number, parts: number, size: number): number[] {
  const first = Math.floor((index * size) / parts);
  return Array.from({ length: Math.ceil(((index + 1) * size) / parts) - first }, (_, i) => first + i);
}

/** Indices of all patches, block by block; in each block row by row, as in Idefics3 and SmolVLM. */
function blockOrder(side: number, layout: PatchLayout): number[] {
  const { frames, rows, columns } = layout;
  const block = partsOf(side, layout);
  const order: number[] = [];
  for (let frame = 0; frame < frames; frame++) {
    for (let top = 0; top < rows; top += block.rows) {
      for (let left = 0; left < columns; left += block.columns) {
        for (let row = top; row < top + block.rows; row++) {
          for (let column = left; column < left + block.columns; column++) {
            order.push((frame * rows + row) * columns + column);
          }
        }
      }
    }
  }
  return order;
}

function formatGrid({ rows, columns }: PatchLayout): string {
  return rows === 1 ? `${columns}` : `${rows} x ${columns}`;
}

function unsuited(expected: string, got: number): EpalmError {
  return new EpalmError("invalid_adapter", `connector.states.${expected}, got ${got}`);
}
