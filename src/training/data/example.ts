import type { Modality } from "../../core/modality.js";

export interface MediaReference {
  readonly modality: Modality;
  /** Absolute path. */
  readonly path: string;
}

interface CommonFields {
  /** File and line, or file and id, for messages. */
  readonly where: string;
  readonly media: MediaReference;
  /** Scores are also reported for each group, such as a camera or a kind of question. */
  readonly group?: string | undefined;
}

/** A medium and human captions of it. */
export interface CaptionExample extends CommonFields {
  readonly kind: "caption";
  readonly captions: readonly string[];
  /** The name of what the medium shows, with which the confidence of captions is calibrated. */
  readonly subject?: string | undefined;
}

/** How the answer to a question is scored; see the functions of these names in `training/metrics`. */
export type AnswerMetric = "vqa-accuracy" | "exact-match";

/**
 * A medium, a question about it, and human answers; an answer that several people gave is repeated. A blank answer
 * matches nothing and is not trained on.
 */
export interface QuestionExample extends CommonFields {
  readonly kind: "vqa";
  readonly question: string;
  readonly answers: readonly string[];
  /** Default: VQA accuracy. */
  readonly metric?: AnswerMetric | undefined;
}

export type Example = CaptionExample | QuestionExample;

/** An entry of a data set that cannot be used, and the cause. */
export interface BadExample {
  readonly kind: "bad";
  readonly where: string;
  readonly cause: string;
}

/** The result of reading one entry of a data set. */
export type Finding = Example | BadExample;

export function badExample(where: string, cause: string): BadExample {
  return { kind: "bad", where, cause };
}
