import { randomUUID } from "node:crypto";
import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import { parseJson } from "../../core/json.js";
import { problem } from "../../wire.js";
import type { LocalAnswer } from "../http/local-service.js";
import { asEpalmError, errorBody, FieldError, problemOf } from "../http/problem.js";
import { parseFields } from "../requests/read-fields.js";

/** The lines of OpenAI's batch files, which `run-batch` of vLLM reads and writes as well. */

/** Endpoints whose requests and answers are JSON; the service itself rejects those of OpenAI that it does not have. */
const URL_PATTERN = /^\/(v1\/[\w/-]+|caption|vqa)$/;

const requestLine = z.looseObject({
  custom_id: z.string().min(1),
  method: z.literal("POST", { error: 'expected "POST"' }),
  url: z
    .string()
    .regex(URL_PATTERN, { error: "expected /v1/chat/completions, /v1/responses, /v1/embeddings, /caption or /vqa" }),
  body: z.looseObject({}, { error: "expected an object" }),
});

/** A line of the input. */
export type BatchRequest = z.infer<typeof requestLine>;

/** The member by which a line is identified, whatever else it contains. */
const identified = z.looseObject({ custom_id: z.string().min(1) });

/** A line of the output. A line that failed has both an `error` and the status and body of a response. */
export const batchAnswer = z.looseObject({
  id: z.string().startsWith("batch_req_"),
  custom_id: z.string().nullable(),
  response: z.looseObject({ status_code: z.int(), request_id: z.string(), body: z.unknown() }),
  error: z.looseObject({ code: z.string(), message: z.string() }).nullable(),
});
export type BatchAnswer = z.infer<typeof batchAnswer>;

/** A line as far as it could be read: `custom_id` is known even if something else is wrong. */
export type ReadRequest =
  | { readonly kind: "request"; readonly request: BatchRequest }
  | { readonly kind: "refused"; readonly customId: string | undefined; readonly error: EpalmError };

/** Reads a line of the input. */
export function readBatchRequest(text: string): ReadRequest {
  let customId: string | undefined;
  try {
    const json = parseJson(text, "line", "invalid_option");
    if (typeof json !== "object" || json === null || Array.isArray(json)) {
      throw new EpalmError("invalid_option", "line: expected a JSON object");
    }
    customId = identified.safeParse(json).data?.custom_id;
    const request = parseFields(json, requestLine);
    if (request.body.stream === true) {
      throw new FieldError("invalid_option", "body.stream", "expected false; an answer of a batch is not a stream");
    }
    return { kind: "request", request };
  } catch (error) {
    return { kind: "refused", customId, error: asEpalmError(error) };
  }
}

/** The beginning of the id of each line. */
const ID = "batch_req_";

/** The characters with which each line of the output begins. */
export const BATCH_PREFIX = `{"id":"${ID}`;

/** Writes the answer of the service as a line of the output. */
export function batchAnswerOf(customId: string, { status, requestId, body }: LocalAnswer): BatchAnswer {
  const failure = status === 200 ? undefined : problem.safeParse(body).data;
  return {
    id: newId(),
    custom_id: customId,
    response: { status_code: status, request_id: requestId, body },
    error: status === 200 ? null : { code: failure?.code ?? "internal", message: failure?.detail ?? "" },
  };
}

/** Writes an error that was found before the service got the request, as the service would answer it. */
export function refusedAnswer(customId: string | undefined, error: EpalmError): BatchAnswer {
  const requestId = randomUUID();
  const { body } = errorBody("/v1/batch", problemOf(error, requestId));
  return {
    id: newId(),
    custom_id: customId ?? null,
    response: { status_code: error.status, request_id: requestId, body },
    error: { code: error.code, message: error.message },
  };
}

function newId(): string {
  return ID + randomUUID().replaceAll("-", "");
}
