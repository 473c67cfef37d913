import type { Row } from "./row.js";
import type { RowOutput } from "./strategy.js";

/** What goes between the scheduler, which plans steps, and the decoder, which computes them. Plain data. */

/** What a row wants to know of its step. */
export type Ask =
  /** So many best next tokens after the last element, or the whole distribution. */
  | { readonly kind: "next"; readonly count: number | "all" }
  /** The log-probability of one given token after each of the last pending elements. */
  | { readonly kind: "targets"; readonly tokens: readonly number[] };

/** A row's part in a step. */
export interface StepRow {
  readonly row: Row;
  /** False where a row only lies between two others: it computes nothing. */
  readonly active: boolean;
  readonly asks: Ask;
}

/** What the next step computes. */
export interface StepPlan {
  /** For each row that runs now: the cache row it was before; undefined for one that begins. */
  readonly sources: readonly (number | undefined)[];
  /** For each row that runs now: how many elements the cache holds of it. */
  readonly times: readonly number[];
  /** The step covers the rows from here on, without a gap. */
  readonly first: number;
  readonly rows: readonly StepRow[];
}

/** What a step says about one row. */
export interface StepOutput {
  /** The best tokens after the row's last element; empty where targets were asked for. */
  readonly next: RowOutput;
  /** Natural log-probability of each target. */
  readonly targetLogProbs: readonly number[];
}
