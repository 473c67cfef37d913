import { withoutNulls } from "../../core/json.js";
import { FieldError } from "../http/problem.js";
import type { GivenMedium } from "../requests/medium.js";
import { parseFields } from "../requests/read-fields.js";
import type { PromptRequest } from "./prompt-request.js";
import { readOpenAi } from "./read-openai.js";
import { ignoredResponseKeys, type ResponsesBody, responsesRequest } from "./responses-schema.js";

/** A request of `/v1/responses`, and what its response repeats. */
export interface ResponsesRequest {
  readonly asked: PromptRequest;
  readonly instructions: string | undefined;
}

/**
 * Converts a request of the Responses API to one of chat completions, and reads that. Errors and reports name its own
 * paths.
 *
 * @param maxBytes limit for the medium
 * @throws FieldError, which names the path of the key: invalid_option, too_large
 */
export function readResponses(json: unknown, maxBytes: number): ResponsesRequest {
  const body = parseFields(withSchema(json), responsesRequest);
  const rename = renaming(body);
  try {
    const { asked } = readOpenAi(chatBody(body), maxBytes);
    const ignored = ignoredResponseKeys.filter((key) => Object.hasOwn(body, key));
    return { asked: withPaths(asked, rename, ignored), instructions: body.instructions };
  } catch (error) {
    if (!(error instanceof FieldError)) throw error;
    throw new FieldError(error.code, rename(error.field), error.detail, { cause: error });
  }
}

/** The request without keys whose value is null, except in the schema, where null is a value. */
function withSchema(json: unknown): unknown {
  const rest = withoutNulls(json);
  const isObject = typeof json === "object" && json !== null && typeof rest === "object";
  return isObject && "text" in json && json.text !== null ? { ...rest, text: json.text } : rest;
}

function chatBody(body: ResponsesBody): object {
  const { input, instructions, max_output_tokens, text, top_logprobs, ...others } = body;
  const unread = new Set<string>([...ignoredResponseKeys, "background"]);
  const messages = typeof input === "string" ? [{ role: "user", content: input }] : input;
  return {
    ...Object.fromEntries(Object.entries(others).filter(([key]) => !unread.has(key))),
    messages: [
      ...(instructions === undefined ? [] : [{ role: "system", content: instructions }]),
      ...messages.map(({ role, content }) => ({
        role,
        content: Array.isArray(content) ? content.map(chatPart) : content,
      })),
    ],
    ...(max_output_tokens === undefined ? {} : { max_completion_tokens: max_output_tokens }),
    ...(top_logprobs ? { logprobs: true, top_logprobs } : {}),
    ...(text?.format ? { response_format: chatFormat(text.format) } : {}),
  };
}

function chatPart(part: unknown): unknown {
  if (typeof part !== "object" || part === null || !("type" in part)) return part;
  if (part.type === "input_file" && "file_data" in part) return { type: "file", file: { file_data: part.file_data } };
  return part.type === "output_text" ? { ...part, type: "text" } : part;
}

function chatFormat(format: NonNullable<NonNullable<ResponsesBody["text"]>["format"]>): object {
  return format.type === "json_schema" ? { type: format.type, json_schema: { schema: format.schema } } : format;
}

/** Converts a path in the request of chat completions to that in the request of responses. */
function renaming({ input, instructions }: ResponsesBody): (path: string) => string {
  const offset = instructions === undefined ? 0 : 1;
  return (path) =>
    path
      .replace(/^messages\[(\d+)\](\.content)?/, (_, index, content = "") => {
        const at = Number(index) - offset;
        if (at < 0) return "instructions";
        return typeof input === "string" ? "input" : `input[${at}]${content}`;
      })
      .replace(/^messages$/, "input")
      .replace(/\.file\.file_data$/, ".file_data")
      .replace(/^response_format\.json_schema/, "text.format")
      .replace(/^response_format/, "text.format")
      .replace(/^max_completion_tokens$/, "max_output_tokens");
}

function withPaths(
  { prompt, medium, paths, ignored, conversation, ...asked }: PromptRequest,
  rename: (path: string) => string,
  more: readonly string[],
): PromptRequest {
  return {
    ...asked,
    prompt: prompt && { ...prompt, path: rename(prompt.path) },
    medium: withMediumPath(medium, rename),
    paths: {
      messages: "input",
      ...Object.fromEntries(Object.entries(paths).map(([key, path]) => [key, rename(path)])),
    },
    ignored: [...ignored.map(rename), ...more],
    conversation: {
      turns: conversation.turns.map(({ message, path }) => ({ message, path: rename(path) })),
      ignored: [...conversation.ignored.map(rename), ...more],
    },
  };
}

function withMediumPath<Medium extends GivenMedium>(medium: Medium, rename: (path: string) => string): Medium {
  const named = medium.path === undefined ? medium : { ...medium, path: rename(medium.path) };
  return "frames" in named ? { ...named, frames: named.frames.map((frame) => withMediumPath(frame, rename)) } : named;
}
