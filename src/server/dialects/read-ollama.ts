import { withoutNulls } from "../../core/json.js";
import { optionTable } from "../../generation/option-table.js";
import type { ChatMessage, ChatPart } from "../../index.js";
import { FieldError } from "../http/problem.js";
import { frameList, type GivenMedium, givenMedium } from "../requests/medium.js";
import { parseFields } from "../requests/read-fields.js";
import { needsDocument } from "./json-format.js";
import {
  type OllamaFormat,
  type OllamaOptions,
  ollamaChatRequest,
  ollamaGenerateRequest,
  ollamaNameRequest,
} from "./ollama-schema.js";
import type { PromptRequest, Turn } from "./prompt-request.js";

/** A request of `/api/generate` or `/api/chat`. */
export interface OllamaRequest {
  readonly model: string | undefined;
  /** Undefined if the request only asks to load the model, as Ollama's programs do before the first prompt. */
  readonly asked: PromptRequest | undefined;
  readonly stream: boolean;
  readonly format: OllamaFormat;
}

/** A request that names a model. */
export interface OllamaName {
  readonly model: string;
}

/** @throws FieldError: invalid_option, too_large */
export function readOllamaGenerate(json: unknown, maxBytes: number): OllamaRequest {
  const { prompt = "", images = [], ...request } = parseFields(withoutNulls(json), ollamaGenerateRequest);
  const isLoading = prompt.trim() === "" && images.length === 0;
  const { system } = request;
  return read(request, isLoading, () => ({
    prompt: prompt.trim() === "" ? undefined : { text: prompt, path: "prompt" },
    medium: mediumOf(images, "images", maxBytes),
    ignored: [],
    conversation: {
      turns: [
        ...(typeof system === "string" && system.trim() !== "" ? [turn("system", [{ text: system }], "system")] : []),
        turn("user", [{ medium: true }, { text: prompt }], "prompt"),
      ],
      ignored: [],
    },
  }));
}

function turn(role: ChatMessage["role"], content: readonly ChatPart[], path: string): Turn {
  return { message: { role, content }, path };
}

/** Uses the last text and the newest images of the user. @throws FieldError: invalid_option, too_large */
export function readOllamaChat(json: unknown, maxBytes: number): OllamaRequest {
  const { messages, tools: _tools, ...request } = parseFields(withoutNulls(json), ollamaChatRequest);
  return read(request, messages.length === 0, () => {
    const user = messages.map((message) => (message.role === "user" ? message : undefined));
    const asking = user.findLastIndex((message) => (message?.content ?? "").trim() !== "");
    const showing = user.findLastIndex((message) => (message?.images ?? []).length > 0);
    const text = user[asking]?.content;
    const unused = messages.flatMap(({ content = "", images = [] }, index) => [
      ...(content.trim() === "" || index === asking ? [] : [`messages[${index}].content`]),
      ...(images.length === 0 || index === showing ? [] : [`messages[${index}].images`]),
    ]);
    return {
      prompt: text === undefined ? undefined : { text, path: `messages[${asking}].content` },
      medium: mediumOf(user[showing]?.images ?? [], showing < 0 ? "messages" : `messages[${showing}].images`, maxBytes),
      ignored: unused,
      conversation: {
        turns: messages.flatMap(({ role, content = "", images = [] }, index) => {
          const parts: ChatPart[] = [
            ...(index === showing && images.length > 0 ? [{ medium: true } as const] : []),
            ...(content.trim() === "" ? [] : [{ text: content }]),
          ];
          const own = role === "developer" ? "system" : role;
          return own === "tool" || parts.length === 0 ? [] : [turn(own, parts, `messages[${index}].content`)];
        }),
        ignored: messages.flatMap(({ role, content = "", images = [] }, index) => [
          ...(role === "tool" && content.trim() !== "" ? [`messages[${index}].content`] : []),
          ...(images.length === 0 || index === showing ? [] : [`messages[${index}].images`]),
        ]),
      },
    };
  });
}

/** @throws FieldError: invalid_option */
export function readOllamaName(json: unknown): OllamaName {
  const { model, name } = parseFields(withoutNulls(json), ollamaNameRequest);
  const given = model ?? name;
  if (given !== undefined) return { model: withoutTag(given) };
  throw new FieldError("invalid_option", "model", "expected the name of a model");
}

interface Settings {
  readonly model?: string | undefined;
  readonly stream?: boolean | undefined;
  readonly format?: OllamaFormat;
  readonly options?: OllamaOptions | undefined;
  readonly logprobs?: boolean | undefined;
  readonly top_logprobs?: number | undefined;
  readonly [key: string]: unknown;
}

function read(
  { model, stream = true, format, options = {}, logprobs, top_logprobs = 0, ...others }: Settings,
  isLoading: boolean,
  prompted: () => Pick<PromptRequest, "prompt" | "medium" | "ignored" | "conversation">,
): OllamaRequest {
  if (top_logprobs > 0 && !logprobs) {
    throw new FieldError("invalid_option", "top_logprobs", "requires logprobs: true");
  }
  const name = model === undefined ? undefined : withoutTag(model);
  if (isLoading) return { model: name, asked: undefined, stream, format };
  const { fields, ignored: unused } = generationFields(options);
  const { ignored, conversation, ...rest } = prompted();
  const unread = Object.keys(others).filter((key) => requestsSomething(others[key]));
  const asked = {
    model: name,
    ...rest,
    fields: {
      ...fields,
      ...(logprobs ? { logprobs, ...(top_logprobs > 0 ? { top_logprobs } : {}) } : {}),
      ...(needsDocument(format) ? { guided_json: format } : {}),
    },
    paths,
    ignored: [...ignored, ...unread, ...unused],
    conversation: {
      ...conversation,
      ignored: [...conversation.ignored, ...unread.filter((key) => key !== "system"), ...unused],
    },
  };
  return { model: name, asked, stream, format: needsDocument(format) ? undefined : format };
}

/** Without the tag that Ollama's clients append to names. */
function withoutTag(name: string): string {
  return name.replace(/:latest$/, "");
}

/** Values such as an empty suffix request nothing, so that they need not be reported. */
function requestsSomething(value: unknown): boolean {
  return value !== "" && value !== false && !(Array.isArray(value) && value.length === 0);
}

function mediumOf(images: readonly string[], path: string, maxBytes: number): GivenMedium {
  const given = images.map((image, index) => givenMedium("image", image, maxBytes, `${path}[${index}]`));
  const [only, ...more] = given;
  if (!only) throw new FieldError("invalid_option", path, "expected an image; the models describe media only");
  return more.length === 0 ? only : frameList(given, path);
}

const paths = {
  max_tokens: "options.num_predict",
  temperature: "options.temperature",
  top_k: "options.top_k",
  top_p: "options.top_p",
  min_p: "options.min_p",
  repetition_penalty: "options.repeat_penalty",
  frequency_penalty: "options.frequency_penalty",
  presence_penalty: "options.presence_penalty",
  seed: "options.seed",
  stop: "options.stop",
  guided_json: "format",
};

function generationFields(options: OllamaOptions): Pick<PromptRequest, "fields" | "ignored"> {
  const { num_predict = 0, temperature, top_k = 0, top_p = 0, seed = -1, stop, ...more } = options;
  const { min_p = 0, repeat_penalty = 0, frequency_penalty, presence_penalty, ...others } = more;
  const stops = (typeof stop === "string" ? [stop] : (stop ?? [])).filter((text) => text !== "");
  const { most, longest } = optionTable.stop;
  const tooLong = stops.findIndex((text) => text.length > longest);
  if (stops.length > most || tooLong >= 0) {
    throw new FieldError(
      "invalid_option",
      paths.stop,
      `expected at most ${most} strings of at most ${longest} characters`,
    );
  }
  return {
    fields: {
      ...(num_predict > 0 ? { max_tokens: num_predict } : {}),
      ...(temperature === undefined ? {} : { temperature }),
      ...(top_k > 0 ? { top_k: Math.min(top_k, optionTable.topK.most) } : {}),
      ...(top_p > 0 && top_p < 1 ? { top_p } : {}),
      ...(min_p > 0 ? { min_p } : {}),
      ...(repeat_penalty > 0 ? { repetition_penalty: repeat_penalty } : {}),
      ...(frequency_penalty === undefined ? {} : { frequency_penalty }),
      ...(presence_penalty === undefined ? {} : { presence_penalty }),
      ...(seed >= 0 ? { seed } : {}),
      ...(stops.length > 0 ? { stop: stops } : {}),
    },
    ignored: Object.keys(others).map((key) => `options.${key}`),
  };
}
