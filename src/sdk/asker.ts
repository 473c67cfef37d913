import type { GenerationOptions } from "../generation/generation-options.js";

/**
 * What the two forms of epalm have in common: a model folder that this process loaded (`load` of `epalm`) and the
 * client of a service that did (`EpalmClient`). Code that is written against `Asker` runs with either.
 */
export interface Asker {
  /** Says what is in a picture. */
  readonly caption: (picture: CommonPicture, options?: CommonAskOptions) => Promise<CommonAnswer>;
  /** Answers a question about a picture. */
  readonly vqa: (
    picture: CommonPicture,
    question: string,
    options?: CommonAskOptions,
  ) => Promise<CommonAnswer>;
  /** Orders given answers to a question about a picture by how probable the model finds them. */
  readonly rank: (
    picture: CommonPicture,
    question: string,
    candidates: readonly string[],
    options?: CommonRankOptions,
  ) => Promise<CommonRanking>;
}

/** The path of a file, or the bytes of one. */
export type CommonPicture = string | Uint8Array;

export interface CommonAskOptions extends GenerationOptions {
  /** Default: the model's first adapter that was trained for the task. */
  readonly adapter?: string | undefined;
  /** Takes the request back; it then rejects with the code `aborted`. */
  readonly signal?: AbortSignal | undefined;
  /** Gets the text as it grows. With beams or several texts: all at once, at the end. */
  readonly onText?: ((piece: string) => void) | undefined;
}

export interface CommonRankOptions {
  /** Default: the model's first adapter that was trained for questions. */
  readonly adapter?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * What a candidate is scored by: the `"sum"` of its tokens' log-probabilities, which favours short ones, or their
   * `"mean"`, which does not look at length. Default: `"sum"`.
   */
  readonly normalisation?: "sum" | "mean";
}

export interface CommonText {
  readonly text: string;
  /** Natural log-probability, length-normalised where beams are; higher is better. */
  readonly score: number;
  /** Why the text ended: an end token, a stop string, or `maxNewTokens`. */
  readonly finish: "end" | "stop" | "length";
  /** Ids of the new tokens. From a service: with `logprobs`, like the next two. */
  readonly tokens?: readonly number[];
  /** What each token adds to the text. */
  readonly pieces?: readonly string[];
  /** Natural log-probability of each token; that of the end token follows where there was one. */
  readonly logProbs?: readonly number[];
}

/** Milliseconds. */
export interface CommonTimings {
  readonly media: number;
  readonly encoder: number;
  readonly adapter: number;
  readonly decoder: number;
}

export interface CommonUsage {
  readonly promptTokens: number;
  readonly newTokens: number;
}

export interface CommonAnswer {
  /** The best text. */
  readonly text: string;
  /** All texts, best first. */
  readonly texts: readonly CommonText[];
  /** In process the name in the folder's manifest, of a service the name that it serves the model under. */
  readonly model: string;
  readonly adapter: string;
  readonly usage: CommonUsage;
  readonly timings: CommonTimings;
}

export interface CommonRanked {
  readonly text: string;
  /** Which of the candidates that were given. */
  readonly index: number;
  /** Natural log-probability of the whole candidate, its end token included. */
  readonly logProb: number;
  /** `logProb` per token. */
  readonly meanLogProb: number;
  /** What candidates are ordered by: `logProb` or `meanLogProb`, as the normalisation says. */
  readonly score: number;
  /** Of the candidate among all: they sum to 1. */
  readonly probability: number;
}

export interface CommonRanking {
  /** Best first. */
  readonly answers: readonly CommonRanked[];
  readonly model: string;
  readonly adapter: string;
  /** Candidates are read, not written: `promptTokens` counts theirs, too, and `newTokens` is 0. */
  readonly usage: CommonUsage;
  readonly timings: CommonTimings;
}
