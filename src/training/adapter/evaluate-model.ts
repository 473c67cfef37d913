import { answerProbability, captionProbability } from "../../adapter/confidence.js";
import { multipliesIntegers } from "../../core/precision.js";
import type { MediumInput } from "../../encoding/media-encoder.js";
import type { GenerationOptions } from "../../generation/options.js";
import type { AskOptions, Model } from "../../pipeline.js";
import type { Example } from "../data/example.js";
import {
  type EvaluateOptions,
  type EvaluationScores,
  type Prediction,
  predict,
  type ScoredExample,
  score,
} from "./evaluate.js";

/** Number of concurrent requests to a decoder in fp32. */
const CONCURRENCY = 8;

/** Options of `evaluateModel`. */
export interface EvaluationOptions extends EvaluateOptions {
  /**
   * Number of concurrent requests, which the model's scheduler batches. Default: 8; 1 for a quantized decoder, which
   * scales the activations of a batch together, so that an answer depends on the requests that happen to run with it.
   */
  readonly concurrency?: number | undefined;
  /** Name of the adapter. Default: the first adapter of the folder that was trained for the task. */
  readonly adapter?: string | undefined;
  /** Leaves the media out, for a text-only baseline. Default: false. */
  readonly textOnly?: boolean | undefined;
  /** The medium of a path, if it has been encoded already. Default: none has. */
  readonly encoded?: ((path: string) => MediumInput | undefined) | undefined;
  /** Default: the model's generation options for each task. */
  readonly generation?: GenerationOptions | undefined;
}

/** Scores of a model on a data set, and its predictions. */
export interface Evaluation {
  readonly scores: EvaluationScores;
  /** In the order of the examples. */
  readonly predictions: readonly Prediction[];
}

/**
 * Has a model caption or answer every example of a data set, and scores the results. With the default concurrency, a
 * quantized model gives the same scores on every run.
 *
 * @example
 * ```ts
 * import { evaluateModel, load, namedScores, readEvaluationData } from "epalm";
 * const { examples } = await readEvaluationData({ path: "plants/test.jsonl" });
 * const { scores } = await evaluateModel(await load("my-model"), examples, { adapter: "plants" });
 * console.log(namedScores(scores));
 * ```
 */
export async function evaluateModel(
  model: Model,
  examples: readonly Example[],
  { adapter, textOnly, encoded, generation, concurrency, ...options }: EvaluationOptions = {},
): Promise<Evaluation> {
  const asked: AskOptions = { ...generation, adapter, textOnly, signal: options.signal };
  const predictions = await predict(
    examples.map(scored),
    async (example) => {
      const { modality } = example;
      const media = encoded?.(example.media) ?? example.media;
      const answer =
        example.kind === "caption"
          ? await model.caption(media, { ...asked, modality })
          : await model.vqa(media, example.question, { ...asked, modality });
      const logProbs = answer.texts[0]?.logProbs ?? [];
      const probability = example.kind === "caption" ? captionProbability(logProbs) : answerProbability(logProbs);
      return { prediction: answer.text, probability };
    },
    {
      ...options,
      concurrency: concurrency ?? (multipliesIntegers(model.manifest.decoder.precision) ? 1 : CONCURRENCY),
    },
  );
  return { scores: score(predictions), predictions };
}

function scored(example: Example): ScoredExample {
  const { path: media, modality } = example.media;
  const { group } = example;
  const common = { id: example.where, media, modality, ...(group === undefined ? {} : { group }) };
  if (example.kind === "caption") {
    const { captions, subject } = example;
    return { kind: "caption", ...common, references: captions, ...(subject === undefined ? {} : { subject }) };
  }
  const { question, answers: references, metric } = example;
  return { kind: "vqa", ...common, question, references, ...(metric ? { metric } : {}) };
}

/**
 * The scores under their common names, for logs and tables.
 *
 * @example
 * ```ts
 * import { evaluateModel, load, namedScores } from "epalm";
 * const { scores } = await evaluateModel(await load("my-model"), []);
 * console.log(namedScores(scores).CIDEr);
 * ```
 */
export function namedScores({ captions, answers, exactAnswers }: EvaluationScores): Record<string, number> {
  return {
    ...(captions
      ? {
          CIDEr: captions.cider,
          "CIDEr-D": captions.ciderD,
          ...Object.fromEntries(captions.bleu.map((value, index) => [`BLEU-${index + 1}`, value])),
          "ROUGE-L": captions.rougeL,
        }
      : {}),
    ...(answers ? { "VQA accuracy": answers.accuracy } : {}),
    ...(exactAnswers ? { "exact match": exactAnswers.accuracy } : {}),
  };
}
