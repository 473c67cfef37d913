import { STATUS_CODES } from "node:http";
import { EpalmError, type ErrorCode, excerpt } from "../../core/errors.js";
import { optionEntries } from "../../generation/option-table.js";
import { mediaFields, type Problem, trustNames } from "../../wire.js";

export const PROBLEM_TYPE = "application/problem+json; charset=utf-8";

/** Title of status 499, which is not an HTTP standard: the client closed the connection. */
const ABORTED_TITLE = "Client Closed Request";

/** Maps the names of options in the library to their names in requests. */
const wireNames = new Map<string, string>([
  ...optionEntries.map(([name, { wire }]) => [name, wire] as const),
  ...Object.entries(trustNames),
]);

/** Fields with which messages may begin. */
const fields = new Set([
  ...wireNames.values(),
  ...mediaFields,
  ...[
    "question",
    "candidates",
    "adapter",
    "model",
    "rank_by",
    "messages",
    "images",
    "prompt",
    "options",
    "format",
    "input",
    "text",
  ],
]);

/** Characters of a problem's `detail`. Messages quote only excerpts of requests; this is the limit for all together. */
const MAX_DETAIL = 2000;

/** An error in one field of a request. Its message begins with the name of the field. */
export class FieldError extends EpalmError {
  readonly field: string;
  /** The message without the field. */
  readonly detail: string;

  constructor(code: ErrorCode, field: string, message: string, options?: ErrorOptions) {
    const shortField = excerpt(field);
    super(code, excerpt(`${shortField}: ${message}`, MAX_DETAIL), options);
    this.field = shortField;
    this.detail = excerpt(message, MAX_DETAIL);
  }
}

/**
 * The known field of requests to which an error refers, without the position in it; never a name that a client chose.
 */
export function knownField(error: EpalmError): string | undefined {
  const [root = ""] = error instanceof FieldError ? (/^\w+/.exec(error.field) ?? []) : [];
  return fields.has(root) ? root : undefined;
}

/**
 * Rewrites an error of the library to use the field names of the request: `maxNewTokens: …` becomes `max_tokens: …`,
 * and `media: …` names the field that contained the medium.
 */
export function namingFields(error: unknown, mediaField: string): unknown {
  if (!(error instanceof EpalmError) || error instanceof FieldError) return error;
  const [, name = "", rest = ""] = /^(\w+)(.*)$/s.exec(error.message) ?? [];
  if (name === "media" && rest.startsWith(": ")) {
    return new FieldError(error.code, mediaField, rest.slice(2), { cause: error });
  }
  const wire = wireNames.get(name) ?? name;
  if (!fields.has(wire) || !/^(\[\d+\])?: /.test(rest)) {
    const isAdapter = /^adapter '/.test(error.message) && ["not_found", "invalid_option"].includes(error.code);
    if (!isAdapter) return error;
    return new FieldError(error.code, "adapter", error.message.slice("adapter ".length), { cause: error });
  }
  const [index = ""] = /^\[\d+\]/.exec(rest) ?? [];
  return new FieldError(error.code, wire + index, rest.slice(index.length + 2), { cause: error });
}

/** Converts anything that was thrown to an error of the catalogue. Unknown errors become `internal`. */
export function asEpalmError(error: unknown): EpalmError {
  if (error instanceof EpalmError) return error;
  return frameworkError(error) ?? new EpalmError("internal", "an internal error of the service", { cause: error });
}

/** @param instance the request's id */
export function problemOf(error: EpalmError, instance: string): Problem {
  const { status, code } = error;
  return {
    type: `urn:epalm:error:${code}`,
    title: STATUS_CODES[status] ?? ABORTED_TITLE,
    status,
    detail:
      code === "internal"
        ? "an internal error of the service; see its log for the id"
        : excerpt(error.message, MAX_DETAIL),
    instance,
    code,
    ...(error instanceof FieldError ? { field: error.field } : {}),
  };
}

/** The body of an error under a path, in the format that its clients expect. */
export function errorBody(url: string, problem: Problem): { readonly type: string; readonly body: object } {
  if (url.startsWith("/api/")) return { type: "application/json; charset=utf-8", body: { error: problem.detail } };
  return { type: PROBLEM_TYPE, body: url.startsWith("/v1/") ? openAiProblem(problem) : problem };
}

/** Adds the member `error`, which clients of the OpenAI API expect. */
function openAiProblem(problem: Problem): Problem {
  const { detail, code, field = null } = problem;
  return { ...problem, error: { message: detail, type: code, code, param: field } };
}

/** The types of bodies; of the endpoints that read one, those of OpenAI's format accept JSON only. */
const BODY_TYPES =
  "content-type: expected application/json, multipart/form-data, image/*, audio/* or video/*, got another type or none";

/** Maps the statuses of errors of fastify and its plugins to codes of the catalogue; others of clients are 400. */
const codesByStatus: ReadonlyMap<number, ErrorCode> = new Map([
  [400, "invalid_option"],
  [401, "unauthorized"],
  // Files that may not be served do not exist for clients.
  [403, "not_found"],
  [404, "not_found"],
  [405, "method_not_allowed"],
  [406, "too_large"],
  [408, "slow_request"],
  [413, "too_large"],
  [414, "too_large"],
  [415, "unsupported_media"],
  [417, "expectation_failed"],
  [429, "rate_limited"],
  [431, "headers_too_large"],
  [503, "overloaded"],
]);

function frameworkError(error: unknown): EpalmError | undefined {
  if (!(error instanceof Error) || !("statusCode" in error)) return undefined;
  const status = Number(error.statusCode);
  if (status === 415) return new EpalmError("unsupported_media", BODY_TYPES, { cause: error });
  const code = codesByStatus.get(status) ?? (status >= 400 && status < 500 ? "invalid_option" : undefined);
  return code && new EpalmError(code, excerpt(error.message), { cause: error });
}
