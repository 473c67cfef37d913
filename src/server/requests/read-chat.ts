import { type CaptionRequest, generationFields, type MediaField } from "../../wire.js";
import { FieldError } from "../http/problem.js";
import type { ChatRequest, ContentPart } from "./chat-schema.js";
import { type GivenMedium, givenMedium } from "./medium.js";

/** A chat request, converted to a request of `/caption` or, with a question, of `/vqa`. */
export interface ChatQuestion {
  readonly question: string | undefined;
  readonly medium: GivenMedium;
  readonly fields: Omit<CaptionRequest, MediaField>;
  /** Whether a stream ends with a chunk that contains the usage. */
  readonly includeUsage: boolean;
}

/**
 * Converts a chat request. The models answer one question about one medium, so a longer conversation is rejected rather
 * than reduced to its last message.
 *
 * @param maxBytes limit for the medium
 * @throws FieldError: invalid_option, too_large
 */
export function readChat(request: ChatRequest, maxBytes: number): ChatQuestion {
  const other = request.messages.findIndex(({ role }) => role !== "user");
  if (other >= 0) {
    throw new FieldError(
      "invalid_option",
      `messages[${other}].role`,
      "expected user; the models support no other role",
    );
  }
  const [message, ...more] = request.messages;
  if (!message || more.length > 0) {
    throw new FieldError("invalid_option", "messages", `expected one message, got ${request.messages.length}`);
  }
  const parts: readonly ContentPart[] =
    typeof message.content === "string" ? [{ type: "text", text: message.content }] : message.content;
  const media = parts.flatMap((part) => mediumOf(part) ?? []);
  const [medium] = media;
  if (!medium || media.length > 1) {
    const got = media.length === 0 ? "none" : media.length;
    throw new FieldError("invalid_option", "messages", `expected one image, audio or video part, got ${got}`);
  }
  const text = parts.flatMap((part) => (part.type === "text" ? part.text : [])).join("\n");
  return {
    question: text.trim() === "" ? undefined : text,
    medium: givenMedium(medium.field, medium.text, maxBytes),
    fields: fieldsOf(request),
    includeUsage: request.stream_options?.include_usage === true,
  };
}

function mediumOf(part: ContentPart): { readonly field: MediaField; readonly text: string } | undefined {
  switch (part.type) {
    case "text":
      return undefined;
    case "image_url":
      return { field: "image", text: urlOf(part.image_url) };
    case "input_audio":
      return { field: "audio", text: part.input_audio.data };
    case "video_url":
      return { field: "video", text: urlOf(part.video_url) };
    default:
      part satisfies never;
      return undefined;
  }
}

function urlOf(address: string | { readonly url: string }): string {
  return typeof address === "string" ? address : address.url;
}

function fieldsOf(request: ChatRequest): ChatQuestion["fields"] {
  const { model, adapter, max_tokens, max_completion_tokens, stop, top_p, logprobs, stream } = request;
  if (max_tokens !== undefined && max_completion_tokens !== undefined) {
    throw new FieldError("invalid_option", "max_tokens", "cannot be combined with max_completion_tokens");
  }
  const generation = Object.entries(request).filter(([name]) => Object.hasOwn(generationFields, name));
  return {
    ...Object.fromEntries(generation),
    model,
    adapter,
    max_tokens: max_completion_tokens ?? max_tokens,
    // Some clients send their default of 1, which has no effect.
    top_p: top_p === 1 ? undefined : top_p,
    stop: typeof stop === "string" ? [stop] : stop,
    logprobs,
    stream,
  };
}
