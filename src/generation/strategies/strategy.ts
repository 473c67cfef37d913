/**
 * How a request's sequences continue. The scheduler owns the rows of the KV cache and runs the decoder; after each step it
 * shows a strategy what the decoder said after every sequence, and the strategy answers which sequences continue with which token.
 */

/** What the decoder says about the token after one sequence: the best tokens, best first. */
export interface NextTokens {
  /** Token ids, best first (ties: lower id first). Length: what the strategy asked for, or the whole vocabulary. */
  readonly tokens: ArrayLike<number>;
  /** Natural log-probability of each of `tokens`, normalised over the whole vocabulary. */
  readonly logProbs: ArrayLike<number>;
}

/** A sequence's next token; `parent` is the index, among the outputs given to `advance`, of the sequence it extends. */
export interface Continuation {
  readonly parent: number;
  readonly token: number;
}

/** Why a sequence ended: an end token, a stop string, or `maxNewTokens`; the first that holds, in this order. */
export type FinishReason = "end" | "stop" | "length";

/** One finished sequence. */
export interface FinishedHypothesis {
  /** New tokens. An end token is left out; the tokens that spell a stop string are in, see `cutAtStop`. */
  readonly tokens: readonly number[];
  /**
   * Natural log-probability of each token under the model itself (temperature 1, nothing cut off). With
   * `finish: "end"` there is one more than tokens: the end token's.
   */
  readonly logProbs: readonly number[];
  /** What hypotheses are ordered by: the sum of `logProbs` over `logProbs.length ** lengthPenalty` (1 without beams). */
  readonly score: number;
  readonly finish: FinishReason;
}

/** One request's way of decoding. Synchronous and deterministic; holds the state of that request only. */
export interface Strategy {
  /** How many best tokens each step must return per sequence; "all" for the whole distribution. */
  readonly candidates: number | "all";
  /** The most sequences that will ever run at once: the room to reserve in the KV cache. */
  readonly maxSequences: number;
  /**
   * Takes one output per sequence of the last answer, in its order; on the first call one output, the prompt's.
   * An empty answer means done.
   */
  advance(outputs: readonly NextTokens[]): readonly Continuation[];
  /** Finished sequences, best first; complete once `advance` has answered with nothing. */
  hypotheses(): readonly FinishedHypothesis[];
  /**
   * For streaming: the tokens chosen so far, which only ever grow and are those of the only hypothesis in the end.
   * Undefined where a strategy revises its choice or follows several sequences.
   */
  settledTokens(): readonly number[] | undefined;
}
