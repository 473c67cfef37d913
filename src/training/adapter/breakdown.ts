import { at } from "../../core/at.js";
import { captionScores } from "../metrics/caption-scores.js";
import { type MeanInterval, meanInterval } from "../metrics/mean-interval.js";
import { counted, mostCommon, mostCommonText } from "../metrics/most-common.js";
import { normalizeAnswer } from "../metrics/normalize-answer.js";
import { exactMatch, vqaAccuracy } from "../metrics/vqa-accuracy.js";
import type { Prediction } from "./evaluate.js";

/** What the mean scores of an evaluation consist of. */
export interface Breakdown {
  /** The scores of all examples, by name. CIDEr stands for the captions. */
  readonly overall: NamedIntervals;
  /** Those of the examples of each group, in the order of the names; empty if no example has a group. */
  readonly groups: readonly { readonly group: string; readonly scores: NamedIntervals }[];
  /** The most common wrong answers, with the answer that most people gave. Most common first. */
  readonly confusions: readonly { readonly expected: string; readonly answered: string; readonly count: number }[];
  /** The most common answers: how often they were expected, and how often the model gave them. */
  readonly answers: readonly { readonly answer: string; readonly expected: number; readonly answered: number }[];
}

/** Mean scores with their confidence intervals, by the names that `namedScores` gives them. */
export type NamedIntervals = Readonly<Record<string, MeanInterval>>;

/** Confusions and answers that are listed. */
const LISTED = 20;

/**
 * Scores with confidence intervals, by group, and the most common answers and errors. Answers are compared after the
 * normalisation of VQA v2.
 *
 * @example
 * ```ts
 * import { breakdown, evaluateModel, load, readEvaluationData } from "epalm";
 * const { examples } = await readEvaluationData({ path: "plants/test.jsonl" });
 * const { predictions } = await evaluateModel(await load("my-model"), examples);
 * for (const { group, scores } of breakdown(predictions).groups) console.log(group, scores["VQA accuracy"]?.mean);
 * ```
 */
export function breakdown(predictions: readonly Prediction[]): Breakdown {
  const scored = scoresOf(predictions);
  const groups = new Set(predictions.flatMap(({ group }) => (group === undefined ? [] : [group])));
  const answers = predictions.flatMap((prediction) => (prediction.kind === "vqa" ? [answerOf(prediction)] : []));
  return {
    overall: intervals(scored),
    groups: Array.from(groups)
      .sort()
      .map((group) => ({ group, scores: intervals(scored.filter((one) => one.group === group)) })),
    confusions: confusionsOf(answers),
    answers: balanceOf(answers),
  };
}

interface Scored {
  readonly group: string | undefined;
  readonly name: string;
  readonly score: number;
}

/** The score of each example. That of a caption depends on all references of the data set. */
function scoresOf(predictions: readonly Prediction[]): Scored[] {
  const captions = predictions.filter(({ kind }) => kind === "caption");
  const { perImage } =
    captions.length === 0
      ? { perImage: [] }
      : captionScores(captions.map(({ prediction, references }) => ({ candidate: prediction, references })));
  const answers = predictions.filter((one) => one.kind === "vqa");
  return [
    ...captions.map(({ group }, index) => ({ group, name: "CIDEr", score: at(perImage, index).cider })),
    ...answers.map(({ group, metric, prediction, references }) =>
      metric === "exact-match"
        ? { group, name: "exact match", score: exactMatch(prediction, references) }
        : { group, name: "VQA accuracy", score: vqaAccuracy(prediction, references) },
    ),
  ];
}

function intervals(scored: readonly Scored[]): NamedIntervals {
  const names = Array.from(new Set(scored.map(({ name }) => name)));
  return Object.fromEntries(
    names.map((name) => [name, meanInterval(scored.filter((one) => one.name === name).map(({ score }) => score))]),
  );
}

interface Answered {
  readonly expected: string;
  readonly answered: string;
  /** Whether nobody gave the answer. */
  readonly isWrong: boolean;
}

function answerOf({ prediction, references }: Prediction): Answered {
  const given = references.map(normalizeAnswer).filter((text) => text !== "");
  const answered = normalizeAnswer(prediction);
  const expected = mostCommonText(given) ?? "";
  return { expected, answered, isWrong: !given.includes(answered) };
}

function confusionsOf(answers: readonly Answered[]): Breakdown["confusions"] {
  const pairs = answers.filter(({ isWrong }) => isWrong).map(({ expected, answered }) => [expected, answered]);
  return mostCommon(counted(pairs.map((pair) => JSON.stringify(pair))))
    .slice(0, LISTED)
    .map(([key, count]) => {
      const [expected = "", answered = ""] = JSON.parse(key) as string[];
      return { expected, answered, count };
    });
}

function balanceOf(answers: readonly Answered[]): Breakdown["answers"] {
  const expected = counted(answers.map((one) => one.expected));
  const answered = counted(answers.map((one) => one.answered));
  const either = new Map(expected);
  for (const [answer, count] of answered) either.set(answer, Math.max(count, either.get(answer) ?? 0));
  return mostCommon(either)
    .slice(0, LISTED)
    .map(([answer]) => ({ answer, expected: expected.get(answer) ?? 0, answered: answered.get(answer) ?? 0 }));
}
