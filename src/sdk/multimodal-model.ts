import type { AnswerPiece, AnswerStream } from "../core/answer-stream.js";
import type { Chunks } from "../core/chunks.js";
import type { Modality } from "../core/modality.js";
import type { GenerationOptions } from "../generation/options.js";

/**
 * What the two forms of epalm have in common: a model folder that this process loaded (`load` of `epalm`) and the
 * client of a service that did (`EpalmClient`). Code that is written against `MultimodalModel` runs with either.
 */
export interface MultimodalModel {
  /** Says what is in a medium. */
  readonly caption: (medium: CommonMedium, options?: CommonAskOptions) => Promise<CommonAnswer>;
  readonly vqa: {
    /** Answers a question about a medium. */
    (medium: CommonMedium, question: string, options?: CommonAskOptions): Promise<CommonAnswer>;
    /** Answers several questions about the same medium, which is encoded once. */
    (medium: CommonMedium, questions: readonly string[], options?: CommonAskOptions): Promise<CommonAnswers>;
  };
  /** Orders given answers to a question about a medium by how probable the model finds them. */
  readonly rank: (
    medium: CommonMedium,
    question: string,
    candidates: readonly string[],
    options?: CommonRankOptions,
  ) => Promise<CommonRanking>;
  /** Says what is in a medium, piece by piece. */
  readonly streamCaption: (medium: CommonMedium, options?: CommonStreamOptions) => AnswerStream<string, CommonAnswer>;
  readonly streamVqa: {
    /** Answers a question about a medium, piece by piece. */
    (medium: CommonMedium, question: string, options?: CommonStreamOptions): AnswerStream<string, CommonAnswer>;
    /** Answers several questions at once: each piece says whose it is. */
    (
      medium: CommonMedium,
      questions: readonly string[],
      options?: CommonStreamOptions,
    ): AnswerStream<AnswerPiece, CommonAnswers>;
  };
}

/**
 * A picture, a sound or a video: the path of a file, its bytes, a stream of them, or a URL. A service may fetch one of
 * `https:`; a loaded model fetches nothing and refuses it.
 */
export type CommonMedium = string | URL | Uint8Array | ArrayBuffer | Blob | Chunks;

export interface CommonStreamOptions extends GenerationOptions {
  /** Default: the model's first adapter that was trained for the task and what the medium is taken for. */
  readonly adapter?: string | undefined;
  /** What the medium is to be taken for. Default: the named adapter's, or else what the medium's content says. */
  readonly modality?: Modality | undefined;
  /** Takes the request back; it then rejects with the code `aborted`. */
  readonly signal?: AbortSignal | undefined;
}

export interface CommonAskOptions extends CommonStreamOptions {
  /**
   * Gets the text as it grows, and which of several questions it answers. With beams or several texts: all at once, at
   * the end.
   */
  readonly onText?: ((piece: string, index: number) => void) | undefined;
}

export interface CommonRankOptions {
  /** Default: the model's first adapter that was trained for questions and what the medium is taken for. */
  readonly adapter?: string | undefined;
  /** What the medium is to be taken for. Default: the named adapter's, or else what the medium's content says. */
  readonly modality?: Modality | undefined;
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

/** Who gave an answer, and how long it took. */
export interface CommonSource {
  /** In process the name in the folder's manifest, of a service the name that it serves the model under. */
  readonly model: string;
  readonly adapter: string;
  readonly modality: Modality;
  /** Several questions overlap: the longest counts. */
  readonly timings: CommonTimings;
}

export interface CommonAnswer extends CommonSource {
  /** The best text. */
  readonly text: string;
  /** All texts, best first. */
  readonly texts: readonly CommonText[];
  readonly usage: CommonUsage;
}

/** Answers to several questions about one medium. */
export interface CommonAnswers extends CommonSource {
  /** In the order of the questions. */
  readonly answers: readonly {
    readonly question: string;
    readonly text: string;
    readonly texts: readonly CommonText[];
  }[];
  /** Of all together. */
  readonly usage: CommonUsage;
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

export interface CommonRanking extends CommonSource {
  /** Best first. */
  readonly answers: readonly CommonRanked[];
  /** Candidates are read, not written: `promptTokens` counts theirs, too, and `newTokens` is 0. */
  readonly usage: CommonUsage;
}
