import type { Precision } from "../src/model/manifest.js";
import type { Machine } from "./machine.js";
import type { Table } from "./table.js";

/** What `npm run bench` can measure. */
export interface Measurement {
  /** One line for `--help`. */
  readonly summary: string;
  run(context: Context): Promise<readonly Table[]>;
}

export interface Context {
  readonly machine: Machine;
  /** Where models are made once and kept. */
  readonly folder: string;
  /** Says what is being done, beside the results. */
  readonly say: (what: string) => void;
}

export const precisions = ["fp32", "int8", "int4"] as const satisfies readonly Precision[];
