import type { EpalmError } from "../../core/errors.js";
import type { Answer } from "../../index.js";
import type { Ranking } from "../../pipeline.js";
import type { RunMedium } from "./run-medium.js";

/** The answer of a model about one medium. */
export interface Reply {
  readonly texts: readonly { readonly text: string; readonly score: number }[];
  /** The complete answer of the library, for JSON. */
  readonly whole: Answer | Ranking;
}

/** The outcome of one request. */
export type RunResult = { readonly question: string | undefined } & (
  | { readonly reply: Reply; readonly error?: undefined }
  | { readonly error: EpalmError }
);

export interface TextStreaming {
  onText(piece: string, medium: RunMedium, question: string | undefined): void;
  /** The text is complete. */
  onEnd(medium: RunMedium, question: string | undefined): void;
}

/** Where the answers of a run go. */
export interface RunOutput {
  /** Whether a request is to be answered; from then on it counts as answered. */
  begin(medium: RunMedium, question: string | undefined): boolean;
  /** Why the answer about a medium that has begun could not be written; it is then not asked for. */
  refuse?(medium: RunMedium): EpalmError | undefined;
  /** Prints texts while they are generated, one after the other. */
  readonly streaming?: TextStreaming | undefined;
  /** Writes the results about a medium, in the order of the questions. They are in the file when this returns. */
  write(medium: RunMedium, results: readonly RunResult[]): void | Promise<void>;
  close(): void | Promise<void>;
}

/** An answer as one JSON object. */
export function answerObject({ file, modality, input }: RunMedium, result: RunResult): Record<string, unknown> {
  const { question, error } = result;
  const head = {
    file,
    ...(modality === undefined ? {} : { modality }),
    ...(question === undefined ? {} : { question }),
    ...(input === undefined ? {} : { input }),
  };
  if (error) return { ...head, error: { code: error.code, message: error.message } };
  return { ...head, ...result.reply.whole, ...(needsReview(result.reply) ? { review: true } : {}) };
}

/** Whether a person should look at the medium: the answer was replaced because its confidence is too small. */
export function needsReview({ whole }: Reply): boolean {
  return whole.abstained === true;
}

/** The confidence of the best answer, if its adapter is calibrated. */
export function confidenceOf({ whole }: Reply): number | undefined {
  return "answers" in whole ? whole.answers[0]?.confidence : whole.confidence;
}

/** Replaces line breaks and tabs, so that each answer is one line. */
export function oneLine(text: string): string {
  return text.replace(/\s/g, " ");
}

/** A line for each text about one request: a prefix, the score if it is asked for, and the text. */
export function textLines({ texts }: Reply, prefix: string, scores: boolean): string[] {
  return texts.map(({ text, score }) => {
    return `${prefix}${scores ? `${score.toFixed(4)}\t` : ""}${prefix === "" ? text : oneLine(text)}`;
  });
}
