import type { Calibration } from "../../adapter/calibration.js";
import type { ConfidenceKind, ConfidenceMap } from "../../adapter/confidence.js";
import { at } from "../../core/at.js";
import { randomStreams, shuffled } from "../../core/random.js";
import type { MediumInput } from "../../encoding/media-encoder.js";
import type { EncoderManifest } from "../../model/manifest.js";
import type { Model } from "../../pipeline.js";
import type { Prediction } from "../adapter/evaluate.js";
import { mostCommonText } from "../metrics/most-common.js";
import { normalizeAnswer } from "../metrics/normalize-answer.js";
import { exactMatch, vqaAccuracy } from "../metrics/vqa-accuracy.js";
import { backgroundInput } from "./background-inputs.js";
import { type ConfidenceReport, fitConfidence, type Judged } from "./fit-confidence.js";
import { fitFamiliarity, MIN_EXAMPLES } from "./fit-familiarity.js";
import { nearDuplicates } from "./near-duplicates.js";

/** Generated inputs that the training media are distinguished from. */
const BACKGROUND_INPUTS = 600;
/** Media whose states are used; more would hardly change the summary. */
const MAX_TRAINING_MEDIA = 2000;
const MAX_VALIDATION_MEDIA = 4000;
/** Questions whose candidates are ranked, and candidates of each. */
const MAX_RANKED = 300;
const CANDIDATES = 4;

/** Computes encoder states, [depth, dv]. */
export interface StateSource {
  ofMedium(path: string): Promise<Float32Array>;
  ofInput(input: Float32Array): Promise<Float32Array>;
}

/** Paths of media; a path may occur several times. */
export interface CalibrationMedia {
  readonly training: readonly string[];
  readonly validation: readonly string[];
}

/** What a calibration was measured on, for people. */
export interface CalibrationReport {
  /** Media whose scores are the distribution of the familiarity; absent if there are too few. */
  readonly familiarity?: { readonly media: number; readonly from: "validation" | "cross-fitting" } | undefined;
  readonly confidence: Partial<Readonly<Record<ConfidenceKind, ConfidenceReport>>>;
  /** Validation media that are almost the same as a medium of the training. */
  readonly nearDuplicates: readonly NearDuplicate[];
  /** Complete sentences about what could not be calibrated. */
  readonly notes: readonly string[];
}

/** A validation medium and the training medium that it almost equals, as paths. */
export interface NearDuplicate {
  readonly validation: string;
  readonly training: string;
}

export type MeasuredFamiliarity = Pick<CalibrationReport, "nearDuplicates" | "notes"> & {
  readonly summary: Calibration["familiarity"];
  readonly measuredOn: CalibrationReport["familiarity"];
};

/** Fits the summary of the media and looks for near-duplicates. Encodes nothing if there are too few media. */
export async function measureFamiliarity(
  encoder: EncoderManifest,
  media: CalibrationMedia,
  states: StateSource,
): Promise<MeasuredFamiliarity> {
  const training = spread(Array.from(new Set(media.training)), MAX_TRAINING_MEDIA);
  const validation = spread(Array.from(new Set(media.validation)), MAX_VALIDATION_MEDIA);
  if (Math.max(training.length, validation.length) < MIN_EXAMPLES || training.length < 2) {
    const note =
      `Familiarity was not calibrated: expected at least ${MIN_EXAMPLES} different media for validation or training, ` +
      `got ${validation.length} and ${training.length}.`;
    return { summary: undefined, measuredOn: undefined, nearDuplicates: [], notes: [note] };
  }
  const inOrder = async <T>(items: readonly T[], encode: (item: T) => Promise<Float32Array>) => {
    const results: Float32Array[] = [];
    for (const item of items) results.push(await encode(item));
    return results;
  };
  const sets = {
    depth: encoder.depth,
    training: await inOrder(training, (path) => states.ofMedium(path)),
    validation: await inOrder(validation, (path) => states.ofMedium(path)),
    background: await inOrder(
      Array.from({ length: BACKGROUND_INPUTS }, (_, index) => index),
      (index) => states.ofInput(backgroundInput(encoder, index)),
    ),
  };
  const isValidated = validation.length >= MIN_EXAMPLES;
  return {
    summary: fitFamiliarity(sets),
    measuredOn: isValidated
      ? { media: validation.length, from: "validation" }
      : { media: training.length, from: "cross-fitting" },
    nearDuplicates: nearDuplicates(sets).map((pair) => ({
      validation: at(validation, pair.validation),
      training: at(training, pair.training),
    })),
    notes: [],
  };
}

/** At most `count` of the items, evenly spaced. */
export function spread<T>(items: readonly T[], count: number): T[] {
  if (items.length <= count) return [...items];
  return Array.from({ length: count }, (_, index) => at(items, Math.floor((index * items.length) / count)));
}

/** The signal that stops the rankings, and media that have been encoded already, by path. */
export interface RankingMedia {
  readonly signal?: AbortSignal | undefined;
  readonly encoded?: ((path: string) => MediumInput | undefined) | undefined;
}

/** Calibrates the confidence of one adapter on its predictions, and on rankings of candidates that it makes. */
export async function measureConfidence(
  model: Model,
  adapter: string,
  predictions: readonly Prediction[],
  options: RankingMedia = {},
): Promise<Pick<CalibrationReport, "confidence" | "notes"> & { readonly maps: Calibration["confidence"] }> {
  const judged: Record<ConfidenceKind, readonly Judged[]> = {
    answers: predictions.flatMap(judgedAnswer),
    candidates: await judgedCandidates(model, adapter, predictions, options),
    captions: predictions.flatMap(judgedCaption),
  };
  const maps: Partial<Record<ConfidenceKind, ConfidenceMap>> = {};
  const confidence: Partial<Record<ConfidenceKind, ConfidenceReport>> = {};
  const notes: string[] = [];
  for (const [kind, examples] of Object.entries(judged) as [ConfidenceKind, readonly Judged[]][]) {
    const fitted = fitConfidence(examples);
    if (fitted) {
      maps[kind] = fitted.map;
      confidence[kind] = fitted.report;
    } else if (examples.length > 0) {
      notes.push(
        `The confidence of ${kind} was not calibrated: expected at least ${MIN_EXAMPLES} examples, got ${examples.length}.`,
      );
    }
  }
  return { maps: Object.keys(maps).length > 0 ? maps : undefined, confidence, notes };
}

export function judgedAnswer(one: Prediction): Judged[] {
  if (one.kind !== "vqa" || one.probability === undefined) return [];
  return [{ probability: one.probability, score: scoreOf(one, one.prediction) }];
}

/** A caption is correct if it contains the name of the subject. */
export function judgedCaption(one: Prediction): Judged[] {
  if (one.kind !== "caption" || one.subject === undefined || one.probability === undefined) return [];
  const isNamed = ` ${normalizeAnswer(one.prediction)} `.includes(` ${normalizeAnswer(one.subject)} `);
  return [{ probability: one.probability, score: isNamed ? 1 : 0 }];
}

type Question = Extract<Prediction, { readonly kind: "vqa" }>;

function scoreOf({ metric, references }: Question, answer: string): number {
  return metric === "exact-match" ? exactMatch(answer, references) : vqaAccuracy(answer, references);
}

/** Ranks the correct answer of each question among answers to the same or, if there are too few, other questions. */
async function judgedCandidates(
  model: Model,
  adapter: string,
  predictions: readonly Prediction[],
  { signal, encoded }: RankingMedia,
): Promise<Judged[]> {
  const questions = predictions.filter((one) => one.kind === "vqa");
  const expected = questions.map(({ references }) => mostCommonText(references.filter((text) => text.trim() !== "")));
  const judged: Judged[] = [];
  if (questions.length < MIN_EXAMPLES) return judged;
  const [random = Math.random] = randomStreams(0, 1);
  for (const index of spread(Array.from(questions.keys()), MAX_RANKED)) {
    const one = at(questions, index);
    const correct = expected[index];
    if (correct === undefined) continue;
    const same = expected.filter((_, other) => questions[other]?.question === one.question);
    const others = [...shuffled(same, random), ...shuffled(expected, random)];
    const candidates = Array.from(new Set([correct, ...others.flatMap((text) => text ?? [])])).slice(0, CANDIDATES);
    if (candidates.length < 2) continue;
    const { answers } = await model.rank(encoded?.(one.media) ?? one.media, one.question, candidates, {
      ...{ adapter, modality: one.modality, signal },
    });
    judged.push(...answers.map(({ text, probability }) => ({ probability, score: scoreOf(one, text) })));
  }
  return judged;
}
