import type { AnswerPiece, AnswerStream } from "../core/answer-stream.js";
import type { Chunks } from "../core/chunks.js";
import type { Modality } from "../core/modality.js";
import type { GenerationOptions } from "../generation/options.js";

/**
 * The common interface of a model that is loaded in process (`load` of `epalm`) and of the client of a service
 * (`EpalmClient`). Code that uses `MultimodalModel` works with both.
 */
export interface MultimodalModel {
  /** Generates a caption of a medium. */
  readonly caption: (medium: CommonMedium, options?: CommonAskOptions) => Promise<CommonAnswer>;
  readonly vqa: {
    /** Answers a question about a medium. */
    (medium: CommonMedium, question: string, options?: CommonAskOptions): Promise<CommonAnswer>;
    /** Answers several questions about the same medium, which is encoded only once. */
    (medium: CommonMedium, questions: readonly string[], options?: CommonAskOptions): Promise<CommonAnswers>;
  };
  /** Orders given answers to a question about a medium by their probability under the model. */
  readonly rank: (
    medium: CommonMedium,
    question: string,
    candidates: readonly string[],
    options?: CommonRankOptions,
  ) => Promise<CommonRanking>;
  /** Generates a caption of a medium, piece by piece. */
  readonly streamCaption: (medium: CommonMedium, options?: CommonStreamOptions) => AnswerStream<string, CommonAnswer>;
  readonly streamVqa: {
    /** Answers a question about a medium, piece by piece. */
    (medium: CommonMedium, question: string, options?: CommonStreamOptions): AnswerStream<string, CommonAnswer>;
    /** Answers several questions concurrently. Each piece contains the index of its question. */
    (
      medium: CommonMedium,
      questions: readonly string[],
      options?: CommonStreamOptions,
    ): AnswerStream<AnswerPiece, CommonAnswers>;
  };
}

/**
 * An image, an audio file or a video: the path of a file, its bytes, a stream of its bytes, or a URL. A service may
 * fetch an `https:` URL; a loaded model fetches nothing and rejects such URLs.
 */
export type CommonMedium = string | URL | Uint8Array | ArrayBuffer | Blob | Chunks;

/** When a model does not answer, and what it reports about its answers. */
export interface CommonTrustOptions {
  /** Rejects media that are unlike those of the adapter's training, with the code `unfamiliar`. Default: false. */
  readonly refuseUnfamiliar?: boolean | undefined;
  /** Answers with a smaller confidence, 0 to 1, are replaced by a text. Default: all answers are given. */
  readonly minConfidence?: number | undefined;
  /** Also returns what the medium contributes to each answer. Default: false. */
  readonly mediaGain?: boolean | undefined;
}

/** Options of a streamed caption request or question. */
export interface CommonStreamOptions extends GenerationOptions, CommonTrustOptions {
  /** Default: the model's first adapter for the task and the modality. */
  readonly adapter?: string | undefined;
  /** How to interpret the medium. Default: the modality of the named adapter; otherwise, detected from the content. */
  readonly modality?: Modality | undefined;
  /** Cancels the request, which then rejects with the code `aborted`. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of a caption request or a question. */
export interface CommonAskOptions extends CommonStreamOptions {
  /**
   * Receives the text while it is generated, and the index of its question. With beam search or several texts, it is
   * called once, at the end.
   */
  readonly onText?: ((piece: string, index: number) => void) | undefined;
}

/** Options of a ranking. */
export interface CommonRankOptions extends CommonTrustOptions {
  /** Default: the model's first adapter for questions and the modality. */
  readonly adapter?: string | undefined;
  /** How to interpret the medium. Default: the modality of the named adapter; otherwise, detected from the content. */
  readonly modality?: Modality | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * The score of a candidate: the `"sum"` of its tokens' log-probabilities, which favours short candidates, or their
   * `"mean"`, which does not depend on the length. Default: `"sum"`.
   */
  readonly normalisation?: "sum" | "mean";
}

/** One generated string with its score. */
export interface CommonText {
  readonly text: string;
  /** Natural log-probability, length-normalised with beam search. Higher is better. */
  readonly score: number;
  /** Why the text ended: an end token, a stop string, or `maxNewTokens`. */
  readonly finish: "end" | "stop" | "length";
  /** The share of correct answers among those with this probability; absent if the adapter was not calibrated. */
  readonly confidence?: number | undefined;
  /** Ids of the generated tokens. A service sends this field and the next two only with `logprobs`. */
  readonly tokens?: readonly number[];
  /** The part of the text that each token adds. */
  readonly pieces?: readonly string[];
  /** Natural log-probability of each token, followed by that of the end token if there was one. */
  readonly logProbs?: readonly number[];
  /** With `topLogprobs`, for each of `logProbs`: the tokens that were most probable in its place, best first. */
  readonly topLogprobs?: readonly (readonly CommonTopToken[])[] | undefined;
}

/** A token that was among the most probable ones in its place. */
export interface CommonTopToken {
  readonly id: number;
  /** The string that it would have added to the text. */
  readonly piece: string;
  /** Natural log-probability. */
  readonly logProb: number;
}

/** Milliseconds per stage. */
export interface CommonTimings {
  readonly media: number;
  readonly encoder: number;
  readonly adapter: number;
  readonly decoder: number;
}

/** Number of tokens read and generated. */
export interface CommonUsage {
  readonly promptTokens: number;
  readonly newTokens: number;
}

/** The model and the adapter that gave an answer, and the time per stage. */
export interface CommonSource {
  /** For a loaded model, the name in the manifest; for a service, the name under which it serves the model. */
  readonly model: string;
  readonly adapter: string;
  readonly modality: Modality;
  /**
   * The share of validation examples that are less typical of the adapter's domain than the medium, 0 to 1; absent if
   * the adapter was not calibrated.
   */
  readonly familiarity?: number | undefined;
  /** Whether `familiarity` is below the model's threshold. */
  readonly unfamiliar?: boolean | undefined;
  /** Questions run concurrently, so the longest one counts. */
  readonly timings: CommonTimings;
}

/** How far an answer can be trusted. */
export interface CommonTrust {
  /** That of the best text. */
  readonly confidence?: number | undefined;
  /** True if the answer was replaced because its confidence is below `minConfidence`. */
  readonly abstained?: true | undefined;
  /** With `mediaGain`: natural log-probability of the answer with the medium minus that without it. */
  readonly mediaGain?: number | undefined;
}

/** The response to one caption request or one question. */
export interface CommonAnswer extends CommonSource, CommonTrust {
  /** The best text. */
  readonly text: string;
  /** All texts, best first. */
  readonly texts: readonly CommonText[];
  readonly usage: CommonUsage;
}

/** Answers to several questions about one medium. */
export interface CommonAnswers extends CommonSource {
  /** In the order of the questions. */
  readonly answers: readonly (CommonTrust & {
    readonly question: string;
    readonly text: string;
    readonly texts: readonly CommonText[];
  })[];
  /** Total of all questions. */
  readonly usage: CommonUsage;
}

/** One ranked candidate. */
export interface CommonRanked {
  readonly text: string;
  /** Position in the list of candidates. */
  readonly index: number;
  /** Natural log-probability of the candidate, including its end token. */
  readonly logProb: number;
  /** `logProb` divided by the number of tokens. */
  readonly meanLogProb: number;
  /** Determines the order: `logProb` or `meanLogProb`, depending on `normalisation`. */
  readonly score: number;
  /** Probability among all candidates; the probabilities sum to 1. */
  readonly probability: number;
  /** The share of correct candidates among those with this probability; absent if the adapter was not calibrated. */
  readonly confidence?: number | undefined;
  /** With `mediaGain`: log-probability with the medium minus that without it. */
  readonly mediaGain?: number | undefined;
}

/** Candidates ordered by their probability. */
export interface CommonRanking extends CommonSource {
  /** Best first. */
  readonly answers: readonly CommonRanked[];
  /** True if the confidence of the best candidate is below `minConfidence`. */
  readonly abstained?: true | undefined;
  /** Candidates are not generated: `promptTokens` includes their tokens, and `newTokens` is 0. */
  readonly usage: CommonUsage;
}
