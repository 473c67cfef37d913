import { excerpt } from "../../core/errors.js";
import { optionEntries } from "../../generation/option-table.js";
import type { ChatMessage, Manifest, Modality, Model, TaskName } from "../../index.js";
import { type ConversationSettings, renderConversation } from "../../model/conversation.js";
import { adapterModality } from "../../model/encoders.js";
import type { ListAnswer, TextAnswer } from "../../wire.js";
import { FieldError, namingFields } from "../http/problem.js";
import type { AskRequest } from "../requests/ask-request.js";
import { checkAsk } from "../requests/check-request.js";
import { modalityOf, pathOf } from "../requests/medium.js";
import { type AnswerRequest, answerInTurn, type Service } from "../service.js";
import type { DialectReport } from "./openai-schema.js";
import type { PromptRequest } from "./prompt-request.js";

/** A prompt whose task is known. */
export interface ResolvedPrompt {
  /** Name of the model, without an adapter. */
  readonly model: string;
  readonly ask: AskRequest;
  readonly paths: PromptRequest["paths"];
  readonly ignored: readonly string[];
}

/** A model and an adapter as a request names them. */
interface NamedModel {
  readonly model: string | undefined;
  readonly fields?: { readonly adapter?: string | undefined };
}

/** An answer in the terms of `/caption`, and what was made of the request. */
export interface PromptAnswer {
  readonly answer: TextAnswer;
  readonly report: DialectReport;
}

/**
 * Chooses the model, the adapter and the task of a prompt. If the adapters in question have only one task, the prompt
 * is not examined.
 *
 * @throws FieldError: not_found, invalid_option, too_large
 */
export function resolvePrompt(service: Service, asked: PromptRequest): ResolvedPrompt {
  const { models, config } = service;
  const { name, model, adapter } = named(service, asked);
  const { medium, prompt, paths } = asked;
  const tasks = tasksOf(model.manifest, modalityOf(medium), adapter);
  const written = conversationOf(model.manifest, asked);
  const several = written ? "vqa" : prompt ? models.promptTask(name)(prompt.text) : "caption";
  const task = onlyOf(tasks) ?? several;
  const { kept, dropped } = usableFields(asked.fields, tokenLimit(model, config.limits.newTokens));
  const fields = { ...kept, model: name, adapter };
  const isUnused = !written && task === "caption" && tasks.size === 1 && prompt !== undefined;
  const unread = written?.ignored ?? [...asked.ignored, ...(isUnused ? [prompt.path] : [])];
  const ignored = [...unread, ...dropped.map((key) => paths[key] ?? key)];
  const common = { medium, ...(written ? { messages: written.messages } : {}) };
  const ask =
    task === "caption"
      ? { task, fields, ...common }
      : { task, fields: { ...fields, question: textOf(asked) }, ...common };
  const places = { question: prompt?.path ?? "question", ...(prompt?.path === "prompt" ? { messages: "prompt" } : {}) };
  const resolved = { model: name, ask, paths: { ...places, ...paths }, ignored };
  try {
    checkAsk(ask, model, config.limits);
    return resolved;
  } catch (error) {
    throw renamed(error, resolved.paths);
  }
}

/**
 * The conversation for a model with a chat template, and the paths of what has no effect; undefined for other models,
 * and for a request that contains only a medium.
 *
 * @throws invalid_option if the template rejects the conversation
 */
function conversationOf({ conversation: settings }: Manifest, { conversation, prompt, medium }: PromptRequest) {
  if (!settings || !prompt || (modalityOf(medium) ?? "image") !== "image") return undefined;
  const { turns, ignored } = conversation;
  const messages = turns.map(({ message }) => message);
  const unused = unusedMessages(settings, messages);
  return { messages, ignored: [...unused.flatMap((index) => turns[index]?.path ?? []), ...ignored] };
}

function unusedMessages(settings: ConversationSettings, messages: readonly ChatMessage[]): readonly number[] {
  try {
    return renderConversation(settings, messages).unused;
  } catch (error) {
    throw namingFields(error, "messages");
  }
}

/** Answers a prompt; errors name paths of the request. */
export async function answerPrompt(
  service: Service,
  { ask, paths, ignored }: ResolvedPrompt,
  turn: Omit<AnswerRequest, "ask">,
): Promise<PromptAnswer> {
  try {
    const answer = single(await answerInTurn(service, { ...turn, ask }));
    const { adapter, familiarity, unfamiliar, confidence, abstained } = answer;
    const trust = Object.entries({ familiarity, unfamiliar, confidence, abstained });
    const known = Object.fromEntries(trust.filter(([, value]) => value !== undefined));
    return { answer, report: { task: ask.task, adapter, ...known, ignored: [...ignored] } };
  } catch (error) {
    throw renamed(error, paths);
  }
}

function single(answer: TextAnswer | ListAnswer): TextAnswer {
  return "answers" in answer ? { text: "", texts: [], ...answer.answers[0], ...answer } : answer;
}

/** Splits `MODEL/ADAPTER`; names of models contain no slash. @throws FieldError: not_found */
export function named(
  { models }: Service,
  { model: wanted, fields }: NamedModel,
): { readonly name: string; readonly model: Model; readonly adapter: string | undefined } {
  const [modelName, ...rest] = wanted?.split("/") ?? [];
  const forced = rest.length > 0 ? rest.join("/") : undefined;
  const { name, model } = models.get(modelName);
  const adapter = forced ?? fields?.adapter;
  if (adapter === undefined || Object.hasOwn(model.manifest.adapters, adapter)) return { name, model, adapter };
  const known = Object.keys(model.manifest.adapters).join(", ") || "none";
  const field = forced === undefined ? "adapter" : "model";
  throw new FieldError("not_found", field, `expected an adapter among ${known}, got '${excerpt(adapter)}'`);
}

/** The tasks of the named adapter, or of all adapters for the modality. */
function tasksOf(
  manifest: Manifest,
  modality: Modality | undefined,
  adapter: string | undefined,
): ReadonlySet<TaskName> {
  const fitting = Object.entries(manifest.adapters).filter(([name, one]) =>
    adapter === undefined ? modality === undefined || adapterModality(manifest, one) === modality : name === adapter,
  );
  return new Set(fitting.flatMap(([, { tasks }]) => tasks));
}

function onlyOf<T>(items: ReadonlySet<T>): T | undefined {
  const [first, ...others] = items;
  return others.length === 0 ? first : undefined;
}

/** Prompt and text share the positions of the decoder, so a text gets at most half of them. */
function tokenLimit({ manifest }: Model, newTokens: number): number {
  return Math.min(newTokens, Math.floor(manifest.decoder.shape.positions / 2));
}

type Fields = PromptRequest["fields"];

/** Reduces `max_tokens` to the limit, and drops options of sampling without a temperature, which have no effect. */
function usableFields(fields: Fields, most: number): { readonly kept: Fields; readonly dropped: readonly string[] } {
  const { max_tokens, temperature = 0 } = fields;
  const sampling = optionEntries.flatMap(([, { wire, needs }]) => (needs === "temperature" ? [wire] : []));
  const given = new Map(Object.entries(fields).filter(([, value]) => value !== undefined));
  const unused = temperature > 0 ? [] : sampling.filter((wire) => given.has(wire));
  const isLong = max_tokens !== undefined && max_tokens > most;
  const kept = Object.fromEntries([...given].filter(([wire]) => !unused.includes(wire)));
  return {
    kept: isLong ? { ...kept, max_tokens: most } : kept,
    dropped: [...unused, ...(isLong ? ["max_tokens"] : [])],
  };
}

/** @throws FieldError for a task that needs a question */
function textOf({ prompt, medium }: PromptRequest): string {
  if (prompt) return prompt.text;
  throw new FieldError(
    "invalid_option",
    pathOf(medium),
    "expected a text beside the medium; the adapter answers questions only",
  );
}

/** Replaces the name of a field of `/caption` or `/vqa` by its path in the request. */
function renamed(error: unknown, paths: PromptRequest["paths"]): unknown {
  if (!(error instanceof FieldError)) return error;
  const path = Object.hasOwn(paths, error.field) ? paths[error.field] : undefined;
  if (path === undefined) return error;
  return new FieldError(error.code, path, error.detail, error.cause === undefined ? undefined : { cause: error.cause });
}
