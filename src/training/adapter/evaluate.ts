import { at } from "../../core/at.js";
import { EpalmError } from "../../core/errors.js";
import type { Modality } from "../../core/modality.js";
import { type CaptionScores, captionScores } from "../metrics/caption-scores.js";
import { vqaAccuracy } from "../metrics/vqa-accuracy.js";

/** An example with what is expected, and a name for it in messages and files. */
export type ScoredExample =
  | {
      readonly kind: "caption";
      readonly id: string;
      /** A file. */
      readonly media: string;
      readonly modality: Modality;
      readonly references: readonly string[];
    }
  | {
      readonly kind: "vqa";
      readonly id: string;
      /** A file. */
      readonly media: string;
      readonly modality: Modality;
      readonly question: string;
      readonly references: readonly string[];
    };

/** An example with what the model said. */
export type Prediction = ScoredExample & { readonly prediction: string };

export interface EvaluationScores {
  /** Over the captions; undefined where there are none. */
  readonly captions?: (CaptionScores & { readonly examples: number }) | undefined;
  /** Over the questions: mean accuracy, 0 to 1. */
  readonly answers?: { readonly accuracy: number; readonly examples: number } | undefined;
}

export interface EvaluateOptions {
  /** Examples that are asked side by side; the model's scheduler makes batches of them. Default 8. */
  readonly concurrency?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called in the order of the examples. */
  readonly onPrediction?: ((prediction: Prediction) => void) | undefined;
}

/**
 * Asks a model about every example, several at a time; predictions come back in the examples' order. After a failure
 * nothing more is asked or told, and what was asked already is waited for: then the model may be closed.
 *
 * @throws invalid_option, aborted, or what `ask` throws
 */
export async function predict(
  examples: readonly ScoredExample[],
  ask: (example: ScoredExample) => Promise<string>,
  { concurrency = 8, signal, onPrediction }: EvaluateOptions = {},
): Promise<Prediction[]> {
  if (!Number.isInteger(concurrency) || concurrency < 1) {
    throw new EpalmError("invalid_option", `concurrency: expected a whole number above 0, got ${concurrency}`);
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
        if (signal?.aborted) throw new EpalmError("aborted", `stopped before example ${index + 1}`);
        const example = at(examples, index);
        predictions[index] = { ...example, prediction: await ask(example) };
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

/** Caption metrics over the captions, and VQA accuracy over the questions. */
export function score(predictions: readonly Prediction[]): EvaluationScores {
  const captions = predictions.filter(({ kind }) => kind === "caption");
  const answers = predictions.filter(({ kind }) => kind === "vqa");
  const accuracies = answers.map(({ prediction, references }) => vqaAccuracy(prediction, references));
  return {
    captions:
      captions.length === 0
        ? undefined
        : {
            ...captionScores(captions.map(({ prediction, references }) => ({ candidate: prediction, references })))
              .overall,
            examples: captions.length,
          },
    answers:
      answers.length === 0
        ? undefined
        : {
            accuracy: accuracies.reduce((sum, value) => sum + value, 0) / answers.length,
            examples: answers.length,
          },
  };
}
