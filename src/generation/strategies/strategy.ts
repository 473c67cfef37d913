/**
 * A strategy decides how the sequences of a request continue. The scheduler owns the rows of the KV cache. After each
 * step, it passes the decoder's output for every sequence to the strategy, which returns the sequences that continue
 * and their next tokens.
 */

/** The decoder's output for the token after one sequence. */
export interface NextTokens {
  /** Token ids, best first (ties: lower id first): as many as the strategy requested, or the whole vocabulary. */
  readonly tokens: ArrayLike<number>;
  /** Natural log-probability of each of `tokens`, normalised over the whole vocabulary. */
  readonly logProbs: ArrayLike<number>;
}

/** A sequence's next token; `parent` is the index, in the outputs passed to `advance`, of the sequence it extends. */
export interface Continuation {
  readonly parent: number;
  readonly token: number;
}

/** Why a sequence ended: an end token, a stop string or `maxNewTokens`; the first that applies, in this order. */
export type FinishReason = "end" | "stop" | "length";

/** One finished sequence. */
export interface FinishedHypothesis {
  /** New tokens, without the end token but with the tokens of a stop string; see `cutAtStop`. */
  readonly tokens: readonly number[];
  /**
   * Natural log-probability of each token under the model itself (temperature 1, no top-k or top-p). With
   * `finish: "end"`, it has one more element than `tokens`: that of the end token.
   */
  readonly logProbs: readonly number[];
  /** Sort key of hypotheses: the sum of `logProbs` over `logProbs.length ** lengthPenalty` (1 without beams). */
  readonly score: number;
  readonly finish: FinishReason;
}

/** The decoding state of one request. Synchronous and deterministic. */
export interface Strategy {
  /** Number of most probable tokens that each step must return per sequence; "all" for the whole distribution. */
  readonly candidates: number | "all";
  /** Maximum number of sequences at any time, for which the KV cache reserves rows. */
  readonly maxSequences: number;
  /**
   * Takes one output per continuation of the previous call, in the same order; in the first call, that of the prompt.
   * An empty result means that the request is done.
   */
  advance(outputs: readonly NextTokens[]): readonly Continuation[];
  /** Finished sequences, best first; complete once `advance` has returned an empty result. */
  hypotheses(): readonly FinishedHypothesis[];
  /**
   * For streaming: the tokens chosen so far, which are always a prefix of the only hypothesis. Undefined if the
   * strategy revises its choices or follows several sequences.
   */
  settledTokens(): readonly number[] | undefined;
}
