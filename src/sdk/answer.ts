import type { ListAnswer, MediaField, ModelList, TextAnswer, WireText } from "../wire.js";
import type {
  CommonAnswer,
  CommonAnswers,
  CommonRanked,
  CommonRanking,
  CommonSource,
  CommonText,
  CommonTimings,
  CommonUsage,
} from "./asker.js";
import { EpalmConnectionError } from "./client-errors.js";

/** Milliseconds. Several questions overlap: the longest counts. */
export interface Timings extends CommonTimings {
  /** Waiting for a place in the service. */
  readonly queue: number;
}

interface Source extends CommonSource {
  readonly timings: Timings;
}

export interface Answer extends CommonAnswer {
  readonly timings: Timings;
}

/** Answers to several questions about one picture. */
export interface Answers extends CommonAnswers {
  readonly timings: Timings;
}

export interface Ranked extends CommonRanked {
  /** Natural log-probability of the whole candidate; absent with the normalisation `"mean"`. */
  readonly logProb?: number;
}

export interface Ranking extends CommonRanking {
  readonly answers: readonly Ranked[];
  readonly timings: Timings;
}

/** A model of a service. */
export interface ModelInfo {
  readonly name: string;
  readonly modality: MediaField;
  readonly adapters: readonly { readonly name: string; readonly tasks: readonly string[] }[];
}

/** @throws EpalmConnectionError if it is no answer to one question */
export function readAnswer(json: unknown): Answer {
  if (!isTextAnswer(json) || !json.usage) throw noAnswer();
  const { text, texts, usage } = json;
  return { text, texts: texts.map(commonText), ...sourceOf(json), usage: commonUsage(usage) };
}

/**
 * A form cannot tell a list of one question from a question; the service then answers one.
 *
 * @throws EpalmConnectionError if it is no answer to these questions
 */
export function readAnswers(json: unknown, questions: readonly string[]): Answers {
  const [question] = questions;
  if (question !== undefined && questions.length === 1) {
    const { text, texts, ...source } = readAnswer(json);
    return { answers: [{ question, text, texts }], ...source };
  }
  if (!isListAnswer(json) || !json.usage || json.answers.length !== questions.length) throw noAnswer();
  const answers = json.answers.map(({ question, text, texts }) => ({
    question,
    text,
    texts: texts.map(commonText),
  }));
  return { answers, ...sourceOf(json), usage: commonUsage(json.usage) };
}

/** @throws EpalmConnectionError if it is no ranking of these candidates */
export function readRanking(
  json: unknown,
  candidates: readonly string[],
  normalisation: "sum" | "mean",
): Ranking {
  if (!isTextAnswer(json)) throw noAnswer();
  const answers = indexed(json.texts, candidates).map(({ text, score, probability = 0, index }) => ({
    text,
    index,
    score,
    probability,
    ...(normalisation === "sum" ? { logProb: score } : {}),
  }));
  return { answers, ...sourceOf(json) };
}

/** @throws EpalmConnectionError if it is no list of models */
export function readModels(json: unknown): ModelInfo[] {
  if (!isModelList(json)) throw noAnswer();
  return json.data.map(({ id, epalm }) => ({ name: id, ...epalm }));
}

export function noAnswer(options: ErrorOptions = {}): EpalmConnectionError {
  const message = "answer: expected one of an epalm service, got something else; is baseUrl right?";
  return new EpalmConnectionError(message, { ...options, isTransient: false });
}

/** Which candidate each text is. Equal ones score the same and come in their order. */
function indexed(texts: readonly WireText[], candidates: readonly string[]) {
  const places = new Map<string, number[]>();
  for (const [index, text] of candidates.entries()) places.set(text, [...(places.get(text) ?? []), index]);
  return texts.map((text) => {
    const index = places.get(text.text)?.shift();
    if (index === undefined) throw noAnswer();
    return { ...text, index };
  });
}

function commonText({ text, score, finish_reason, tokens }: WireText): CommonText {
  const common = { text, score, finish: finish_reason ?? "stop" };
  if (!tokens) return common;
  return {
    ...common,
    tokens: tokens.map(({ id }) => id),
    pieces: tokens.map((token) => token.text),
    logProbs: tokens.map(({ log_prob }) => log_prob),
  };
}

function commonUsage({ prompt_tokens, completion_tokens }: NonNullable<TextAnswer["usage"]>): CommonUsage {
  return { promptTokens: prompt_tokens, newTokens: completion_tokens };
}

function sourceOf({ model, adapter, modality, timings }: Source): Source {
  return { model, adapter, modality, timings };
}

/*
 * The service checks what it says with the schemas of wire.ts. What must be found out here is whether it is that
 * service at all, and not a proxy's page or another program at the same address.
 */

function isTextAnswer(json: unknown): json is TextAnswer {
  return isRecord(json) && typeof json.text === "string" && Array.isArray(json.texts) && hasSource(json);
}

function isListAnswer(json: unknown): json is ListAnswer {
  return isRecord(json) && Array.isArray(json.answers) && hasSource(json);
}

function hasSource({ model, timings }: Readonly<Record<string, unknown>>): boolean {
  return typeof model === "string" && isRecord(timings);
}

function isModelList(json: unknown): json is ModelList {
  return isRecord(json) && Array.isArray(json.data) && json.data.every((model) => isRecord(model?.epalm));
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
