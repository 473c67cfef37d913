import { at } from "../../core/at.js";
import { EpalmError } from "../../core/errors.js";
import type { Modality } from "../../core/modality.js";
import type { AnswerMetric } from "../data/example.js";
import { type CaptionScores, captionScores } from "../metrics/caption-scores.js";
import { mean } from "../metrics/mean.js";
import { exactMatch, vqaAccuracy } from "../metrics/vqa-accuracy.js";

interface CommonFields {
  readonly id: string;
  /** Path of the file. */
  readonly media: string;
  readonly modality: Modality;
  readonly references: readonly string[];
  readonly group?: string | undefined;
  /** What the medium shows, for captions. */
  readonly subject?: string | undefined;
}

/** An example with its references and an id for messages and files. */
export type ScoredExample =
  | (CommonFields & { readonly kind: "caption" })
  | (CommonFields & {
      readonly kind: "vqa";
      readonly question: string;
      /** Default: VQA accuracy. */
      readonly metric?: AnswerMetric | undefined;
    });

/** What a model says about an example, and the probability of its tokens that confidence is calibrated on. */
export interface Reply {
  readonly prediction: string;
  /** That of an answer with its end token, or the geometric mean of the probabilities of a caption's tokens. */
  readonly probability?: number | undefined;
}

/** An example with the model's answer. */
export type Prediction = ScoredExample & Reply;

export interface EvaluationScores {
  /** Scores of the captions; undefined if there are none. */
  readonly captions?: (CaptionScores & { readonly examples: number }) | undefined;
  /** Mean VQA accuracy of the answers, 0 to 1; undefined if there are no such questions. */
  readonly answers?: AnswerScores | undefined;
  /** Share of the answers that match exactly, 0 to 1; undefined if there are no questions with this metric. */
  readonly exactAnswers?: AnswerScores | undefined;
}

export interface AnswerScores {
  readonly accuracy: number;
  readonly examples: number;
}

export interface EvaluateOptions {
  /** Number of concurrent requests, which the model's scheduler batches. Default: 8. */
  readonly concurrency?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called in the order of the examples. */
  readonly onPrediction?: ((prediction: Prediction) => void) | undefined;
}

/**
 * Asks a model about every example, with several requests at a time; returns the predictions in the order of the
 * examples. After a failure, it sends no further requests, reports no further predictions and waits for the running
 * requests, so that the model can be closed afterwards.
 *
 * @throws invalid_option, aborted, or any error of `ask`
 */
export async function predict(
  examples: readonly ScoredExample[],
  ask: (example: ScoredExample) => Promise<Reply>,
  { concurrency = 8, signal, onPrediction }: EvaluateOptions = {},
): Promise<Prediction[]> {
  if (!Number.isInteger(concurrency) || concurrency < 1) {
    throw new EpalmError("invalid_option", `concurrency: expected an integer of at least 1, got ${concurrency}`);
  }
  const predictions = new Array<Prediction>(examples.length);
  let next = 0;
  let reported = 0;
  const failures: unknown[] = [];
  const report = () => {
    for (let ready = predictions[reported]; ready !== undefined; ready = predictions[++reported]) onPrediction?.(ready);
  };
  const worker = async () => {
    for (let index = next++; index < examples.length && failures.length === 0; index = next++) {
      try {
        if (signal?.aborted) throw new EpalmError("aborted", `evaluation was stopped before example ${index + 1}`);
        const example = at(examples, index);
        predictions[index] = { ...example, ...(await ask(example)) };
        if (failures.length === 0) report();
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, examples.length) }, worker));
  if (failures.length > 0) throw failures[0];
  return predictions;
}

/** Caption metrics of the captions, and VQA accuracy or exact match of the answers. */
export function score(predictions: readonly Prediction[]): EvaluationScores {
  const captions = predictions.filter(({ kind }) => kind === "caption");
  const answers = predictions.filter((one) => one.kind === "vqa");
  const exact = answers.filter(({ metric }) => metric === "exact-match");
  const exactAnswers = answerScores(exact, exactMatch);
  return {
    captions:
      captions.length === 0
        ? undefined
        : {
            ...captionScores(captions.map(({ prediction, references }) => ({ candidate: prediction, references })))
              .overall,
            examples: captions.length,
          },
    answers: answerScores(
      answers.filter(({ metric }) => metric !== "exact-match"),
      vqaAccuracy,
    ),
    ...(exactAnswers ? { exactAnswers } : {}),
  };
}

function answerScores(answers: readonly Prediction[], metric: typeof vqaAccuracy): AnswerScores | undefined {
  if (answers.length === 0) return undefined;
  const accuracy = mean(answers.map(({ prediction, references }) => metric(prediction, references)));
  return { accuracy, examples: answers.length };
}
