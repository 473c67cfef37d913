import type { Precision } from "../src/core/precision.js";
import type { Machine } from "./machine.js";
import type { Table } from "./table.js";

/** A measurement of `npm run bench`. */
export interface Measurement {
  /** One line for `--help`. */
  readonly summary: string;
  run(context: Context): Promise<readonly Table[]>;
}

export interface Context {
  readonly machine: Machine;
  /** Folder in which models are built once and kept. */
  readonly folder: string;
  /** Rounds of each measurement that repeats its work. Default: its own number. */
  readonly rounds?: number | undefined;
  /** Longest time for one size of model in `scaling`. Default: 20. */
  readonly minutes?: number | undefined;
  /** Reports progress, separately from the results. */
  readonly say: (what: string) => void;
}

export const precisions = ["fp32", "int8", "int4"] as const satisfies readonly Precision[];
