/**
 * A strategy decides how the sequences of a request continue. The scheduler owns the rows of the KV cache. After each
 * step, it passes the decoder's output for every sequence to the strategy, which returns the sequences that continue
 * and their next tokens.
 */

/** The decoder's output for the token after one sequence. */
export interface NextTokens {
  /** Token ids, best first (ties: lower id first): as many as the strategy requested. */
  readonly tokens: ArrayLike<number>;
  /** Natural log-probability of each of `tokens`, normalised over the whole vocabulary. */
  readonly logProbs: ArrayLike<number>;
}

/** The decoder's output for the token after one sequence, as it is: the logits of the whole vocabulary. */
export interface NextLogits {
  /** By token id; the receiver may change them. */
  readonly logits: Float32Array;
  /** logsumexp of the logits: a logit minus this value is a natural log-probability. */
  readonly normalizer: number;
}

/** What a step returns for the token after a sequence: all that a strategy needs, and no more. */
export type NextRequest = { readonly kind: "next"; readonly count: number } | { readonly kind: "logits" };

export type NextOutput = NextTokens | NextLogits;

/** A token and its natural log-probability. */
export interface Choice {
  readonly token: number;
  readonly logProb: number;
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
  /** For each of `logProbs`, the tokens that were most probable under the model itself; as many as were requested. */
  readonly alternatives: readonly (readonly Choice[])[];
  /**
   * Sort key of hypotheses: the sum of `logProbs` over `logProbs.length ** lengthPenalty` (1 without beams). With
   * beams, penalties and biases change the log-probabilities that are summed, as in transformers.
   */
  readonly score: number;
  readonly finish: FinishReason;
}

/** The decoding state of one request. Synchronous and deterministic. */
export interface Strategy {
  /** What each step must return per sequence. */
  readonly needs: NextRequest;
  /** Maximum number of sequences at any time, for which the KV cache reserves rows. */
  readonly maxSequences: number;
  /**
   * Takes one output per continuation of the previous call, in the same order; in the first call, that of the prompt.
   * An empty result means that the request is done.
   */
  advance(outputs: readonly NextOutput[]): readonly Continuation[];
  /** Finished sequences, best first; complete once `advance` has returned an empty result. */
  hypotheses(): readonly FinishedHypothesis[];
  /**
   * For streaming: the tokens chosen so far, which are always a prefix of the only hypothesis. Undefined if the
   * strategy revises its choices or follows several sequences.
   */
  settledTokens(): readonly number[] | undefined;
}
