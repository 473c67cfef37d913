import type { Modality } from "../../core/modality.js";

export interface MediaReference {
  readonly modality: Modality;
  /** Absolute. */
  readonly path: string;
}

/** A medium and what people said of it. */
export interface CaptionExample {
  readonly kind: "caption";
  /** File and line, or file and id: for messages. */
  readonly where: string;
  readonly media: MediaReference;
  readonly captions: readonly string[];
}

/** A medium, a question about it, and people's answers; one that several gave stands there as often. */
export interface QuestionExample {
  readonly kind: "vqa";
  readonly where: string;
  readonly media: MediaReference;
  readonly question: string;
  readonly answers: readonly string[];
}

export type Example = CaptionExample | QuestionExample;

/** A place of a data set that gives no example, and why. */
export interface BadExample {
  readonly kind: "bad";
  readonly where: string;
  readonly cause: string;
}

/** What a reader of a format finds at one place of a data set. */
export type Finding = Example | BadExample;

export function badExample(where: string, cause: string): BadExample {
  return { kind: "bad", where, cause };
}
