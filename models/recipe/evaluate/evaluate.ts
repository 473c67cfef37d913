import { readFileSync } from "node:fs";
import { join } from "node:path";
import { at } from "../../../src/core/at.js";
import {
  EpalmError,
  evaluateModel,
  type Modality,
  type Model,
  namedScores,
  readEvaluationData,
  type TaskName,
} from "../../../src/index.js";
import { floats } from "../../../src/tensor/tensor.js";
import type { Prediction } from "../../../src/training/adapter/evaluate.js";
import { captionScores } from "../../../src/training/metrics/caption-scores.js";
import { normalizeAnswer } from "../../../src/training/metrics/normalize-answer.js";
import { type AdapterRecipe, adapterRecipes, textOnlyBaseline } from "../adapters/adapters.js";
import { readDrawableConcepts, withArticle } from "../data/text/concepts.js";
import { kinds } from "../data/text/kinds.js";
import { type Naming, namingOf, type Share } from "./naming.js";

/** The sources of answers that are compared. */
export type Answerer = "model" | "baseline" | "majority answer";

export interface SetScores {
  readonly captions: { readonly model: number; readonly baseline: number; readonly nearest: number };
  /** How well captions name the objects of images; undefined for other modalities. */
  readonly naming?: Naming | undefined;
  /** By question type, and under `all` for all types together. */
  readonly questions: ReadonlyMap<string, Readonly<Record<Answerer, Share>>>;
}

export interface EvaluateOptions {
  readonly modality: Modality;
  /** Folder of the test set. */
  readonly set: string;
  /** Folder of the training set. */
  readonly training: string;
  /** Number of captions; twice as many questions are asked. */
  readonly limit: number;
  /** Number of training media among which the nearest-neighbour captioner searches. */
  readonly neighbours: number;
  /** Answers instead of the adapters of the recipe. */
  readonly adapter?: string | undefined;
  readonly say: (what: string) => void;
}

/**
 * Computes all scores of a set for the tables of the model card. The model must have loaded the adapters of the
 * modality and their text-only baselines.
 */
export async function evaluateSet(model: Model, options: EvaluateOptions): Promise<SetScores> {
  const { modality, set, training, limit, say } = options;
  const captions = await readEvaluationData({ path: join(set, "captions.jsonl") }, { limit });
  const questions = await readEvaluationData({ path: join(set, "questions.jsonl") }, { limit: limit * 2 });
  const adapters = { caption: adapterFor("caption", modality), vqa: adapterFor("vqa", modality) };
  const seeing = (task: TaskName) => ({ adapter: options.adapter ?? adapters[task].name });
  const withoutMedia = (task: TaskName) => ({ adapter: textOnlyBaseline(adapters[task]), textOnly: true });
  say(`${set}: generating captions`);
  const seen = await evaluateModel(model, captions.examples, seeing("caption"));
  const baseline = await evaluateModel(model, captions.examples, withoutMedia("caption"));
  say(`${set}: searching for nearest neighbours`);
  const nearest = await nearestCaptions(model, seen.predictions, training, options.neighbours);
  say(`${set}: answering questions`);
  const answers = await evaluateModel(model, questions.examples, seeing("vqa"));
  const baselineAnswers = await evaluateModel(model, questions.examples, withoutMedia("vqa"));
  return {
    captions: {
      model: namedScores(seen.scores).CIDEr ?? 0,
      baseline: namedScores(baseline.scores).CIDEr ?? 0,
      nearest: captionScores(nearest).overall.cider,
    },
    naming: modality === "image" ? namingOf(seen.predictions) : undefined,
    questions: byType(
      answers.predictions,
      baselineAnswers.predictions,
      questionTypesOf(set),
      majorityAnswers(training),
    ),
  };
}

function adapterFor(task: TaskName, modality: Modality): AdapterRecipe {
  const found = adapterRecipes.find((recipe) => recipe.task === task && recipe.modality === modality);
  if (!found)
    throw new EpalmError("internal", `the recipe has no adapter for task '${task}' and modality '${modality}'`);
  return found;
}

function questionTypesOf(set: string): string[] {
  const lines = readFileSync(join(set, "question-types.jsonl"), "utf8").trim().split("\n");
  return lines.map((line) => (JSON.parse(line) as { type: string }).type);
}

/** The most frequent answer of the training set, by question type. */
function majorityAnswers(training: string): ReadonlyMap<string, string> {
  const types = questionTypesOf(training);
  const lines = readFileSync(join(training, "questions.jsonl"), "utf8").trim().split("\n");
  const counts = new Map<string, Map<string, number>>();
  lines.forEach((line, index) => {
    const type = at(types, index);
    const { answer } = JSON.parse(line) as { answer: string };
    const known = counts.get(type) ?? new Map<string, number>();
    counts.set(type, known.set(answer, (known.get(answer) ?? 0) + 1));
  });
  return new Map(
    Array.from(counts, ([type, answers]) => [
      type,
      Array.from(answers).reduce<[string, number]>((best, entry) => (entry[1] > best[1] ? entry : best), ["", 0])[0],
    ]),
  );
}

function byType(
  predictions: readonly Prediction[],
  baseline: readonly Prediction[],
  types: readonly string[],
  majority: ReadonlyMap<string, string>,
): SetScores["questions"] {
  const isRight = (text: string | undefined, { references: [truth = ""] }: Prediction) =>
    normalizeAnswer(text ?? "") === normalizeAnswer(truth);
  const share = (of: (index: number) => string | undefined, chosen: readonly number[]): Share => ({
    right: chosen.filter((index) => isRight(of(index), at(predictions, index))).length,
    all: chosen.length,
  });
  const shares = (chosen: readonly number[]): Readonly<Record<Answerer, Share>> => ({
    model: share((index) => predictions[index]?.prediction, chosen),
    baseline: share((index) => baseline[index]?.prediction, chosen),
    "majority answer": share((index) => majority.get(at(types, index)), chosen),
  });
  const indices = Array.from(predictions.keys());
  const ofType = Array.from(new Set(types))
    .sort()
    .map((type) => [type, indices.filter((index) => types[index] === type)] as const);
  return new Map([
    ["all" as const, shares(indices)],
    ...ofType.filter(([, chosen]) => chosen.length > 0).map(([type, chosen]) => [type, shares(chosen)] as const),
  ]);
}

/**
 * For each medium, the caption of the training medium whose last [CLS] state has the highest cosine similarity to its
 * own.
 */
async function nearestCaptions(model: Model, predictions: readonly Prediction[], training: string, count: number) {
  const { examples } = await readEvaluationData({ path: join(training, "captions.jsonl") }, { limit: count });
  const known: { readonly state: Float32Array; readonly caption: string }[] = [];
  for (const example of examples) {
    if (example.kind !== "caption") continue;
    known.push({ state: await lastState(model, example.media.path), caption: example.captions[0] ?? "" });
  }
  const found: { candidate: string; references: readonly string[] }[] = [];
  for (const { media, references } of predictions) {
    const state = await lastState(model, media);
    const best = known.reduce(
      (nearest, { state: other, caption }) => {
        const cosine = dot(state, other);
        return cosine > nearest.cosine ? { cosine, caption } : nearest;
      },
      { cosine: Number.NEGATIVE_INFINITY, caption: "" },
    );
    found.push({ candidate: best.caption, references });
  }
  return found;
}

/** The last [CLS] state, scaled to length 1: [dv]. */
async function lastState(model: Model, path: string): Promise<Float32Array> {
  const { states } = await model.encode(path);
  const [depth = 1, width = 1] = states.shape;
  const state = floats(states).subarray((depth - 1) * width);
  const norm = Math.sqrt(dot(state, state));
  return state.map((value) => value / norm);
}

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);
}

/**
 * Measures what the language model knows without an image: for `count` concepts at equal distances in the list, how
 * often the right kind is the most probable of all answers to the question of what kind of thing the concept is.
 */
export async function textOnlyKinds(model: Model, count: number): Promise<Share> {
  const concepts = readDrawableConcepts();
  const chosen = Array.from({ length: count }, (_, i) => concepts[Math.floor((i * concepts.length) / count)]);
  const names = Array.from(new Set(Object.values(kinds).map(({ name }) => name)));
  let right = 0;
  for (const concept of chosen) {
    if (!concept) continue;
    const name = withArticle(concept.name);
    const question = `what kind of thing ${name === concept.name ? "are" : "is"} ${name}?</a>`;
    const scores = await Promise.all(
      names.map(async (kind) => (await model.scoreText(`${question}${kind}`)).reduce((sum, score) => sum + score, 0)),
    );
    if (names[scores.indexOf(Math.max(...scores))] === concept.kind.name) right++;
  }
  return { right, all: count };
}
