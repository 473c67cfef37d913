import { z } from "zod";
import { withoutNulls } from "../../core/json.js";
import type { ChatMessage, ChatPart } from "../../index.js";
import { generationFields, type MediaField } from "../../wire.js";
import { FieldError } from "../http/problem.js";
import { frameList, type GivenMedium, givenMedium } from "../requests/medium.js";
import { parseFields } from "../requests/read-fields.js";
import { type ChatRequest, type ContentPart, ignoredKeys, listedChatRequest } from "./openai-schema.js";
import type { PromptRequest, Turn } from "./prompt-request.js";

/** A chat request of the OpenAI API. */
export interface OpenAiRequest {
  readonly asked: PromptRequest;
  /** Whether a stream ends with a chunk that contains the usage. */
  readonly includeUsage: boolean;
}

/**
 * Converts a chat request. Models without a chat template answer one prompt about one medium: the last text and the
 * newest medium of the user. System messages, answers and everything else are then reported as ignored.
 *
 * @param maxBytes limit for the medium
 * @throws FieldError, which names the path of the key: invalid_option, too_large
 */
export function readOpenAi(json: unknown, maxBytes: number): OpenAiRequest {
  const request = parseFields(withTextParts(withoutUnset(json)), listedChatRequest);
  const placed = request.messages.flatMap((message, index) =>
    isUser(message)
      ? message.content.map((part, at) => ({ part, index, at, path: `messages[${index}].content[${at}]` }))
      : [],
  );
  const texts = placed.filter(({ part }) => textIn(part).trim() !== "");
  const lastText = texts.at(-1)?.index;
  const prompt = texts.filter(({ index }) => index === lastText);
  const media = placed.flatMap((one) => {
    const medium = mediumOf(one.part, one.path);
    return medium ? [{ ...one, medium }] : [];
  });
  const used = newest(media);
  const kept = new Set([...prompt, ...used].map(({ path }) => path));
  const others = request.messages.flatMap((message, index) => (isUser(message) ? [] : [`messages[${index}]`]));
  const { fields, ignored } = optionsOf(request);
  return {
    asked: {
      model: request.model,
      prompt:
        lastText === undefined
          ? undefined
          : { text: prompt.map(({ part }) => textIn(part)).join("\n"), path: `messages[${lastText}]` },
      medium: mediumFrom(used, maxBytes),
      fields,
      paths: {
        ...(request.max_completion_tokens === undefined ? {} : { max_tokens: "max_completion_tokens" }),
        ...formOf(request).paths,
      },
      ignored: [
        ...others,
        ...placed.flatMap(({ path, part }) => (kept.has(path) ? detailOf(part, path) : [path])),
        ...ignored,
      ],
      conversation: {
        turns: turnsOf(request.messages, used[0]?.path),
        ignored: [
          ...request.messages.flatMap(({ role }, index) => (roles[role] ? [] : [`messages[${index}]`])),
          ...placed.flatMap(({ path, part }) => {
            const isUsed = kept.has(path) || mediumOf(part, path) === undefined;
            return isUsed ? detailOf(part, path) : [path];
          }),
          ...ignored,
        ],
      },
    },
    includeUsage: request.stream_options?.include_usage === true,
  };
}

/** Keys with a JSON schema, in which null is a value. */
const schemaKeys = ["response_format", "structured_outputs", "guided_json"];

/** The request without keys whose value is null. */
function withoutUnset(json: unknown): unknown {
  const rest = withoutNulls(json);
  if (typeof json !== "object" || json === null || typeof rest !== "object") return rest;
  const kept = Object.entries(json).filter(([key, value]) => schemaKeys.includes(key) && value !== null);
  return { ...rest, ...Object.fromEntries(kept) };
}

/** The form of the text under the names of `/vqa`, and where the request states it. */
function formOf({ response_format, structured_outputs, ...given }: ChatRequest) {
  const { json, regex, choice } = structured_outputs ?? {};
  const forms = [
    ["guided_json", json, "structured_outputs.json"],
    ["guided_regex", regex, "structured_outputs.regex"],
    ["guided_choice", choice, "structured_outputs.choice"],
    ["guided_json", response_format?.type === "json_object" ? { type: "object" } : undefined, "response_format"],
    [
      "guided_json",
      response_format?.type === "json_schema" ? response_format.json_schema.schema : undefined,
      "response_format.json_schema.schema",
    ],
  ] as const;
  const stated = forms.filter(([, value]) => value !== undefined);
  const twice = stated.find(([name], index) => given[name] !== undefined || stated[index - 1]?.[0] === name);
  if (twice) throw new FieldError("invalid_option", twice[2], `cannot be combined with another ${twice[0]}`);
  return {
    fields: Object.fromEntries(stated.map(([name, value]) => [name, value])),
    paths: Object.fromEntries(stated.map(([name, , path]) => [name, path])),
  };
}

type Message = ChatRequest["messages"][number];
type UserMessage = Extract<Message, { readonly role: "user" }>;

function isUser(message: Message): message is UserMessage {
  return message.role === "user";
}

/** The roles of conversations; other messages are left out. */
const roles: Readonly<Partial<Record<Message["role"], ChatMessage["role"]>>> = {
  system: "system",
  developer: "system",
  user: "user",
  assistant: "assistant",
};

/** The messages with a text or the used medium. @param mediumPath path of the part whose place the medium takes */
function turnsOf(messages: readonly Message[], mediumPath: string | undefined): Turn[] {
  return messages.flatMap((message, index) => {
    const role = roles[message.role];
    const path = `messages[${index}]`;
    const content: ChatPart[] = isUser(message)
      ? message.content.flatMap((part, at): ChatPart[] => {
          if (`${path}.content[${at}]` === mediumPath) return [{ medium: true }];
          return mediumOf(part, path) ? [] : [{ text: textIn(part) }];
        })
      : textsIn(message.content).map((text) => ({ text }));
    return role && content.length > 0 ? [{ message: { role, content }, path }] : [];
  });
}

/** The texts of a message that the user did not write: a string, or parts of which some are texts. */
function textsIn(content: unknown): string[] {
  const parts = z.array(z.unknown()).safeParse(content).data ?? [];
  return parts.flatMap((part) => z.looseObject({ text: z.string() }).safeParse(part).data?.text ?? []);
}

/** Converts content that is only a text to a list of one part. */
function withTextParts(json: unknown): unknown {
  if (typeof json !== "object" || json === null || !("messages" in json) || !Array.isArray(json.messages)) return json;
  const messages: unknown[] = json.messages;
  return { ...json, messages: messages.map(withTextPart) };
}

function withTextPart(message: unknown): unknown {
  if (typeof message !== "object" || message === null || !("content" in message)) return message;
  const { content } = message;
  return typeof content === "string" ? { ...message, content: [{ type: "text", text: content }] } : message;
}

interface PlacedMedium {
  readonly field: MediaField;
  readonly text: string;
  readonly path: string;
}

function textIn(part: ContentPart): string {
  return part.type === "text" || part.type === "input_text" ? part.text : "";
}

function mediumOf(part: ContentPart, path: string): PlacedMedium | undefined {
  switch (part.type) {
    case "text":
    case "input_text":
      return undefined;
    case "image_url":
    case "input_image":
      return { field: "image", ...urlOf(part.image_url, `${path}.image_url`) };
    case "audio_url":
      return { field: "audio", ...urlOf(part.audio_url, `${path}.audio_url`) };
    case "input_audio":
      return { field: "audio", text: part.input_audio.data, path: `${path}.input_audio.data` };
    case "video_url":
      return { field: "video", ...urlOf(part.video_url, `${path}.video_url`) };
    case "file":
      return { field: "media", text: part.file.file_data, path: `${path}.file.file_data` };
    default:
      return part satisfies never;
  }
}

function urlOf(address: string | { readonly url: string }, path: string): Pick<PlacedMedium, "text" | "path"> {
  return typeof address === "string" ? { text: address, path } : { text: address.url, path: `${path}.url` };
}

/** Media are always scaled to the input size of the encoder. */
function detailOf(part: ContentPart, path: string): string[] {
  if (part.type !== "image_url" && part.type !== "input_image") return [];
  if (typeof part.image_url === "string") return "detail" in part ? [`${path}.detail`] : [];
  return "detail" in part.image_url ? [`${path}.image_url.detail`] : [];
}

/** The newest medium, or all images of the message whose newest medium is an image. */
function newest<Part extends { readonly index: number; readonly medium: PlacedMedium }>(
  media: readonly Part[],
): Part[] {
  const last = media.at(-1);
  if (!last) return [];
  if (last.medium.field !== "image") return [last];
  return media.filter(({ index, medium }) => index === last.index && medium.field === "image");
}

function mediumFrom(
  used: readonly { readonly index: number; readonly medium: PlacedMedium }[],
  maxBytes: number,
): GivenMedium {
  const given = used.map(({ medium: { field, text, path } }) => givenMedium(field, text, maxBytes, path));
  const [only, ...more] = given;
  if (!only) throw new FieldError("invalid_option", "messages", "expected an image, audio or video part, got none");
  return more.length === 0 ? only : frameList(given, `messages[${used[0]?.index}].content`);
}

function optionsOf(request: ChatRequest): { readonly fields: PromptRequest["fields"]; readonly ignored: string[] } {
  const { adapter, max_tokens, max_completion_tokens, stop, top_p, min_p, logprobs, stream } = request;
  const generation = Object.entries(request).filter(([name]) => Object.hasOwn(generationFields, name));
  // As in OpenAI.
  if (request.top_logprobs && logprobs !== true) {
    throw new FieldError("invalid_option", "top_logprobs", "requires logprobs: true");
  }
  const isDouble = max_completion_tokens !== undefined && max_tokens !== undefined;
  return {
    fields: {
      ...Object.fromEntries(generation),
      ...formOf(request).fields,
      adapter,
      max_tokens: max_completion_tokens ?? max_tokens,
      // Some clients send their defaults, which have no effect.
      top_p: top_p === 1 ? undefined : top_p,
      min_p: min_p === 0 ? undefined : min_p,
      stop: typeof stop === "string" ? [stop] : stop,
      logprobs,
      stream,
    },
    ignored: [...(isDouble ? ["max_tokens"] : []), ...ignoredKeys.filter((key) => Object.hasOwn(request, key))],
  };
}
