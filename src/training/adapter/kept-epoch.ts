import { unexpected } from "../../core/errors.js";
import type { AnswerMetric, Example } from "../data/example.js";
import type { TrainingConfig } from "./config.js";

/** The scores by which `keep: best` can choose, with their names in the log. Higher is better. */
const scoreNames = {
  cider: "CIDEr",
  "cider-d": "CIDEr-D",
  "bleu-4": "BLEU-4",
  "rouge-l": "ROUGE-L",
  accuracy: "VQA accuracy",
  "exact-match": "exact match",
} as const;

type Score = NonNullable<TrainingConfig["score"]>;

/** The scores of captions and of the answers with each metric; the first one is the default. */
const scoresOf = {
  caption: ["cider", "cider-d", "bleu-4", "rouge-l"],
  "vqa-accuracy": ["accuracy"],
  "exact-match": ["exact-match"],
} as const satisfies Record<"caption" | AnswerMetric, readonly [Score, ...Score[]]>;

function metricOf(example: Example): keyof typeof scoresOf {
  return example.kind === "caption" ? "caption" : (example.metric ?? "vqa-accuracy");
}

/**
 * The name, in the log, of the score by which the best epoch is chosen; undefined if the last epoch is kept.
 *
 * @throws invalid_option if the validation set does not have the score
 */
export function keptScore(
  { keep, score, patience }: TrainingConfig,
  validation: readonly Example[],
): string | undefined {
  if (keep === "last") {
    for (const [name, value] of Object.entries({ score, patience })) {
      if (value !== undefined) throw unexpected("invalid_option", name, "'keep: best' with it", "'keep: last'");
    }
    return undefined;
  }
  const [metric, ...others] = new Set(validation.map(metricOf));
  if (metric === undefined) {
    throw unexpected("invalid_option", "keep", "'data.validation' with 'best'", "no validation examples");
  }
  const known: Score[] = [metric, ...others].flatMap((one) => [...scoresOf[one]]);
  if (score === undefined && others.length > 0) {
    throw unexpected("invalid_option", "score", `one of ${known.join(", ")} for several kinds of examples`, "nothing");
  }
  const chosen = score ?? scoresOf[metric][0];
  if (known.includes(chosen)) return scoreNames[chosen];
  throw unexpected("invalid_option", "score", `${known.join(" or ")} for this validation set`, chosen);
}

/** The first of the epochs with the highest score; undefined without epochs. */
export function bestEpoch<T extends { readonly scores: Readonly<Record<string, number>> }>(
  epochs: readonly T[],
  score: string,
): T | undefined {
  const scoreOf = ({ scores }: T) => scores[score] ?? Number.NEGATIVE_INFINITY;
  return epochs.reduce<T | undefined>((best, epoch) => {
    return best === undefined || scoreOf(epoch) > scoreOf(best) ? epoch : best;
  }, undefined);
}
