import type { Modality } from "../../core/modality.js";

export interface MediaReference {
  readonly modality: Modality;
  /** Absolute path. */
  readonly path: string;
}

/** A medium and human captions of it. */
export interface CaptionExample {
  readonly kind: "caption";
  /** File and line, or file and id, for messages. */
  readonly where: string;
  readonly media: MediaReference;
  readonly captions: readonly string[];
}

/** A medium, a question about it, and human answers; an answer that several people gave is repeated. */
export interface QuestionExample {
  readonly kind: "vqa";
  readonly where: string;
  readonly media: MediaReference;
  readonly question: string;
  readonly answers: readonly string[];
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
