import type { Sequence } from "./sequence.js";
import type { NextTokens } from "./strategies/strategy.js";

/** What goes between the scheduler, which plans steps, and the decoder, which computes them. Plain data. */

/** What a sequence wants to know of its step. */
export type LogitsRequest =
  /** So many best next tokens after the last element, or the whole distribution. */
  | { readonly kind: "next"; readonly count: number | "all" }
  /** The log-probability of one given token after each of the last pending elements. */
  | { readonly kind: "targets"; readonly tokens: readonly number[] };

/** A sequence's part in a step. */
export interface ScheduledSequence {
  readonly sequence: Sequence;
  /** False where a sequence only lies between two others: it computes nothing. */
  readonly active: boolean;
  readonly needs: LogitsRequest;
}

/** What the next step computes. */
export interface StepPlan {
  /** For each sequence that runs now: its cache index before; undefined for one that begins. */
  readonly sources: readonly (number | undefined)[];
  /** For each sequence that runs now: how many elements the cache holds of it. */
  readonly cachedLengths: readonly number[];
  /** The step covers the sequences from here on, without a gap. */
  readonly first: number;
  readonly scheduled: readonly ScheduledSequence[];
}

/** What a step says about one sequence. */
export interface StepOutput {
  /** The best tokens after the sequence's last element; empty where targets were asked for. */
  readonly next: NextTokens;
  /** Natural log-probability of each target. */
  readonly targetLogProbs: readonly number[];
}
