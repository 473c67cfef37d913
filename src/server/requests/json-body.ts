import { EpalmError, type ErrorCode, messageOf } from "../../core/errors.js";
import { type EmbeddingsRequest, readEmbeddings } from "../dialects/embeddings.js";
import {
  type OllamaName,
  type OllamaRequest,
  readOllamaChat,
  readOllamaGenerate,
  readOllamaName,
} from "../dialects/read-ollama.js";
import { type OpenAiRequest, readOpenAi } from "../dialects/read-openai.js";
import { type ResponsesRequest, readResponses } from "../dialects/read-responses.js";
import { FieldError } from "../http/problem.js";
import type { CaptionAsk, VqaAsk } from "./ask-request.js";
import { bytesIn } from "./medium.js";
import { readCaption, readVqa } from "./read-fields.js";

/** The results of parsing a JSON body, by endpoint. */
export interface JsonBodies {
  readonly caption: CaptionAsk;
  readonly vqa: VqaAsk;
  readonly openai: OpenAiRequest;
  readonly responses: ResponsesRequest;
  readonly embeddings: EmbeddingsRequest;
  readonly ollamaGenerate: OllamaRequest;
  readonly ollamaChat: OllamaRequest;
  readonly ollamaName: OllamaName;
}

const readers: {
  readonly [Kind in keyof JsonBodies]: (json: unknown, maxBytes: number) => JsonBodies[Kind];
} = {
  caption: (json, maxBytes) => readCaption(json, maxBytes),
  vqa: (json, maxBytes) => readVqa(json, maxBytes),
  openai: readOpenAi,
  responses: readResponses,
  embeddings: readEmbeddings,
  ollamaGenerate: readOllamaGenerate,
  ollamaChat: readOllamaChat,
  ollamaName: readOllamaName,
};

/** The bytes of the media in a body, which can be transferred between threads. */
export function mediaBytesIn(body: JsonBodies[keyof JsonBodies]): readonly Uint8Array[] {
  if ("medium" in body) return bytesIn(body.medium);
  if ("media" in body) return body.media.flatMap(bytesIn);
  return "asked" in body && body.asked ? bytesIn(body.asked.medium) : [];
}

/**
 * Maximum number of objects, lists and members in a body, which need far more memory than their characters. The largest
 * valid request has about a thousand.
 */
const MAX_JSON_PARTS = 100_000;

/**
 * Parses a JSON body: validates its fields and decodes its medium.
 *
 * @param maxBytes limit for the medium
 * @throws FieldError, invalid_option, too_large
 */
export function readJsonBody<Kind extends keyof JsonBodies>(
  kind: Kind,
  bytes: Uint8Array,
  maxBytes: number,
): JsonBodies[Kind] {
  return readers[kind](parseJson(bytes), maxBytes);
}

/** The result or the error of `readJsonBody` in a form that can be sent between threads. */
export type BodyOutcome<Kind extends keyof JsonBodies> =
  | { readonly kind: "read"; readonly body: JsonBodies[Kind] }
  | {
      readonly kind: "refused";
      readonly code: ErrorCode;
      /** The message without the name of the field. */
      readonly message: string;
      readonly field: string | undefined;
    };

/** Like `readJsonBody`, but returns errors of the catalogue instead of throwing them. */
export function tryJsonBody<Kind extends keyof JsonBodies>(
  kind: Kind,
  bytes: Uint8Array,
  maxBytes: number,
): BodyOutcome<Kind> {
  try {
    return { kind: "read", body: readJsonBody(kind, bytes, maxBytes) };
  } catch (error) {
    if (!(error instanceof EpalmError)) throw error;
    const { code, message } = error;
    return error instanceof FieldError
      ? { kind: "refused", code, message: error.detail, field: error.field }
      : { kind: "refused", code, message, field: undefined };
  }
}

function parseJson(bytes: Uint8Array): unknown {
  expectFewParts(bytes);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new EpalmError("invalid_option", `body: is not valid JSON: ${messageOf(error)}`);
  }
}

const [COMMA, BRACKET, BRACE] = [0x2c, 0x5b, 0x7b];

/** Also counts characters within strings, of which a valid request has few. @throws too_large */
function expectFewParts(bytes: Uint8Array): void {
  let parts = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === COMMA || byte === BRACKET || byte === BRACE) parts++;
  }
  if (parts <= MAX_JSON_PARTS) return;
  throw new EpalmError("too_large", `body: expected at most ${MAX_JSON_PARTS} values, got about ${parts}`);
}
