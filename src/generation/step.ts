import type { Sequence } from "./sequence.js";
import type { NextOutput, NextRequest } from "./strategies/strategy.js";

/** Plain data that the scheduler, which plans steps, and the decoder, which computes them, exchange. */

/** The result that a sequence needs from a step. */
export type LogitsRequest =
  /** This many most probable tokens after the last element, or the logits of the whole vocabulary. */
  | NextRequest
  /** The log-probability of one given token after each of the last pending elements. */
  | { readonly kind: "targets"; readonly tokens: readonly number[] };

/** A sequence's part in a step. */
export interface ScheduledSequence {
  readonly sequence: Sequence;
  /** False if the sequence is included only because it lies between two others; it is then not computed. */
  readonly active: boolean;
  readonly needs: LogitsRequest;
  /** Number of pending elements that the step computes. Default: all of them. */
  readonly count?: number | undefined;
}

/** The plan of the next step. */
export interface StepPlan {
  /** For each running sequence, its previous cache index; undefined for a new one. */
  readonly sources: readonly (number | undefined)[];
  /** For each running sequence, the number of its cached elements. */
  readonly cachedLengths: readonly number[];
  /** Index of the first running sequence in the step; the others follow without a gap. */
  readonly first: number;
  readonly scheduled: readonly ScheduledSequence[];
  /** New running sequences whose cached elements are a prefix that the decoder keeps, by its key. Default: none. */
  readonly restored?: readonly { readonly index: number; readonly key: string }[] | undefined;
  /** Running sequences whose first `count` elements the decoder keeps after the step. Default: none. */
  readonly kept?: readonly { readonly index: number; readonly key: string; readonly count: number }[] | undefined;
}

/** The output of a step for one sequence. */
export interface StepOutput {
  /** What was requested about the token after the sequence's last element; no tokens if targets were requested. */
  readonly next: NextOutput;
  /** Natural log-probability of each target. */
  readonly targetLogProbs: readonly number[];
}
