import type { Modality } from "../core/modality.js";
import type { ListAnswer, ModelList, TextAnswer, WireText } from "../wire.js";
import { EpalmConnectionError } from "./client-errors.js";
import type {
  CommonAnswer,
  CommonAnswers,
  CommonRanked,
  CommonRanking,
  CommonSource,
  CommonText,
  CommonTimings,
  CommonTopToken,
  CommonTrust,
  CommonUsage,
} from "./multimodal-model.js";

/** Milliseconds per stage. Questions run concurrently, so the longest one counts. */
export interface Timings extends CommonTimings {
  /** Time in the queue of the service. */
  readonly queue: number;
}

interface Source extends CommonSource {
  readonly timings: Timings;
}

/** The response to one caption request or one question. */
export interface Answer extends CommonAnswer {
  readonly timings: Timings;
}

/** Answers to several questions about one medium. */
export interface Answers extends CommonAnswers {
  readonly timings: Timings;
}

/** Candidates ordered by their probability. */
export interface Ranking extends CommonRanking {
  readonly timings: Timings;
}

/** A model of a service. */
export interface ModelInfo {
  readonly name: string;
  /** Modalities that it accepts. */
  readonly modalities: readonly Modality[];
  readonly adapters: readonly {
    readonly name: string;
    readonly tasks: readonly string[];
    readonly modality: Modality;
  }[];
}

/** @throws EpalmConnectionError if the JSON is not an answer to one question */
export function readAnswer(json: unknown): Answer {
  if (!isTextAnswer(json)) throw noAnswer();
  const { text, texts, usage } = json;
  return { text, texts: texts.map(commonText), ...trustOf(json), ...sourceOf(json), usage: commonUsage(usage) };
}

/** @throws EpalmConnectionError if the JSON is not an answer to these questions */
export function readAnswers(json: unknown, questions: readonly string[]): Answers {
  if (!isListAnswer(json) || json.answers.length !== questions.length) throw noAnswer();
  const answers = json.answers.map(({ question, text, texts, ...trust }) => ({
    ...{ question, text, texts: texts.map(commonText) },
    ...trustOf(trust),
  }));
  return { answers, ...sourceOf(json), usage: commonUsage(json.usage) };
}

/** @throws EpalmConnectionError if the JSON is not a ranking of these candidates */
export function readRanking(json: unknown, candidates: readonly string[]): Ranking {
  if (!isTextAnswer(json) || json.texts.length !== candidates.length) throw noAnswer();
  const { abstained } = json;
  return {
    answers: json.texts.map(commonRanked),
    ...definedOnly({ abstained }),
    ...sourceOf(json),
    usage: commonUsage(json.usage),
  };
}

/** @throws EpalmConnectionError if the JSON is not a list of models */
export function readModels(json: unknown): ModelInfo[] {
  if (!isModelList(json)) throw noAnswer();
  // Names with a slash are adapters, which the models list as well.
  const models = json.data.filter(({ id }) => !id.includes("/"));
  return models.map(({ id, epalm }) => ({ name: id, ...epalm }));
}

/** The error for a response that does not come from an epalm service. */
export function noAnswer(options: ErrorOptions = {}): EpalmConnectionError {
  const message = "response: expected an answer of an epalm service, got something else; check baseUrl";
  return new EpalmConnectionError(message, { ...options, isTransient: false });
}

function commonRanked(ranked: WireText): CommonRanked {
  const { text, index, score, probability, log_prob, mean_log_prob, confidence, media_gain } = ranked;
  if (index === undefined || probability === undefined) throw noAnswer();
  if (log_prob === undefined || mean_log_prob === undefined) throw noAnswer();
  const trust = definedOnly({ confidence, mediaGain: media_gain });
  return { text, index, score, probability, logProb: log_prob, meanLogProb: mean_log_prob, ...trust };
}

function commonText({ text, score, finish_reason, tokens, end_log_prob, end_top, confidence }: WireText): CommonText {
  if (finish_reason === undefined) throw noAnswer();
  const common = { text, score, finish: finish_reason, ...definedOnly({ confidence }) };
  if (!tokens) return common;
  const top = [...tokens.map((token) => token.top), end_top].filter((one) => one !== undefined);
  return {
    ...common,
    tokens: tokens.map(({ id }) => id),
    pieces: tokens.map((token) => token.text),
    logProbs: [...tokens.map(({ log_prob }) => log_prob), ...(end_log_prob === undefined ? [] : [end_log_prob])],
    ...(top.length > 0 ? { topLogprobs: top.map(topTokens) } : {}),
  };
}

function topTokens(top: NonNullable<WireText["end_top"]>): CommonTopToken[] {
  return top.map(({ id, text, log_prob }) => ({ id, piece: text, logProb: log_prob }));
}

function commonUsage({ prompt_tokens, completion_tokens }: TextAnswer["usage"]): CommonUsage {
  return { promptTokens: prompt_tokens, newTokens: completion_tokens };
}

function sourceOf({ model, adapter, modality, familiarity, unfamiliar, timings }: Source): Source {
  return { model, adapter, modality, ...definedOnly({ familiarity, unfamiliar }), timings };
}

function trustOf({ confidence, abstained, media_gain }: Partial<TextAnswer>): CommonTrust {
  return definedOnly({ confidence, abstained, mediaGain: media_gain });
}

/** Omits undefined fields. */
function definedOnly<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}

/*
 * The service builds its answers according to the schemas of wire.ts. The client only checks whether a response comes
 * from an epalm service at all, and not from a proxy or another program at the same address.
 */

function isTextAnswer(json: unknown): json is TextAnswer {
  return isRecord(json) && typeof json.text === "string" && Array.isArray(json.texts) && hasSource(json);
}

function isListAnswer(json: unknown): json is ListAnswer {
  return isRecord(json) && Array.isArray(json.answers) && hasSource(json);
}

function hasSource({ model, timings, usage }: Readonly<Record<string, unknown>>): boolean {
  return typeof model === "string" && isRecord(timings) && isRecord(usage);
}

function isModelList(json: unknown): json is ModelList {
  return isRecord(json) && Array.isArray(json.data) && json.data.every((model) => isRecord(model?.epalm));
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
