import { EpalmError, type ErrorCode, isErrorCode } from "../core/errors.js";
import type { Problem } from "../wire.js";
import { libraryField } from "./library-field.js";

/**
 * Errors of the client. All of them are `EpalmError`s with a code of the library's catalogue, so that code that checks
 * error codes works both with a loaded model and with a service.
 */

/** How much of a response body that is not a problem appears in the message; UTF-16 units. */
const MAX_SHOWN = 200;

/** What is known about an error response. */
export interface Refusal {
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly field?: string | undefined;
  readonly requestId?: string | undefined;
  readonly retryAfter?: number | undefined;
}

/**
 * The service answered with an error.
 *
 * @example
 * ```ts
 * import { EpalmApiError, EpalmClient } from "epalm/sdk";
 * try {
 *   await new EpalmClient({ baseUrl: "http://localhost:8080" }).caption("photo.jpg", { adapter: "none" });
 * } catch (error) {
 *   if (error instanceof EpalmApiError) console.error(error.status, error.field, error.requestId);
 * }
 * ```
 */
export class EpalmApiError extends EpalmError {
  override readonly name = "EpalmApiError";
  /** The invalid option or field, if there is one, under its name in the client: `maxNewTokens` for `max_tokens`. */
  readonly field: string | undefined;
  /** The message of the service, unchanged. */
  readonly detail: string;
  /** Id of the request in the log of the service. Undefined if something else answered, such as a proxy. */
  readonly requestId: string | undefined;
  /** Seconds to wait before the next attempt, if the service sent a `Retry-After` header. */
  readonly retryAfter: number | undefined;
  readonly #status: number;

  constructor({ status, code, detail, field, requestId, retryAfter }: Refusal) {
    super(code, inLibraryWords(detail, field));
    this.#status = status;
    this.detail = detail;
    this.field = field === undefined ? undefined : libraryField(field);
    this.requestId = requestId;
    this.retryAfter = retryAfter;
  }

  /** The HTTP status of the response. */
  override get status(): number {
    return this.#status;
  }
}

/**
 * The service could not be reached, the connection broke, or the response does not come from an epalm service.
 *
 * @example
 * ```ts
 * import { EpalmClient, EpalmConnectionError } from "epalm/sdk";
 * try {
 *   await new EpalmClient({ baseUrl: "http://localhost:1" }).health();
 * } catch (error) {
 *   if (error instanceof EpalmConnectionError) console.error("the service cannot be reached");
 * }
 * ```
 */
export class EpalmConnectionError extends EpalmError {
  override readonly name = "EpalmConnectionError";
  /** Whether another attempt may succeed; false if the response does not come from an epalm service. */
  readonly isTransient: boolean;

  constructor(message: string, options: ErrorOptions & { readonly isTransient: boolean }) {
    super("connection_failed", message, options);
    this.isTransient = options.isTransient;
  }
}

/**
 * The `timeout` of the call has passed.
 *
 * @example
 * ```ts
 * import { EpalmClient, EpalmTimeoutError } from "epalm/sdk";
 * const client = new EpalmClient({ baseUrl: "http://localhost:8080", timeout: 5000 });
 * try {
 *   await client.caption("photo.jpg");
 * } catch (error) {
 *   if (error instanceof EpalmTimeoutError) console.error("no answer within", error.timeout, "ms");
 * }
 * ```
 */
export class EpalmTimeoutError extends EpalmError {
  override readonly name = "EpalmTimeoutError";
  /** Milliseconds. */
  readonly timeout: number;

  constructor(timeout: number) {
    super("deadline_exceeded", `no complete answer within ${timeout} ms`);
    this.timeout = timeout;
  }
}

/** The caller cancelled the call. It has the name that `fetch` gives to such errors. */
export class AbortError extends EpalmError {
  override readonly name = "AbortError";

  constructor(message: string, options?: ErrorOptions) {
    super("aborted", message, options);
  }
}

/** The error for a problem that the service sent. */
export function problemError({ status, code, detail, field, instance }: Problem, retryAfter?: number): EpalmApiError {
  return new EpalmApiError({
    status,
    // A newer service may have codes that this client does not know.
    code: isErrorCode(code) ? code : codeOfStatus(status),
    detail,
    field,
    requestId: instance,
    retryAfter,
  });
}

/** The error for an error response: a problem of the service, or whatever a proxy sent instead. */
export function refusalError(
  status: number,
  body: string,
  requestId: string | undefined,
  retryAfter: number | undefined,
): EpalmApiError {
  const json = parseJson(body);
  if (isProblem(json)) return problemError({ ...json, status }, retryAfter);
  const shown = body.replace(/\s+/g, " ").trim().slice(0, MAX_SHOWN);
  const detail = `HTTP status ${status}${shown === "" ? "" : `: ${shown}`}`;
  return new EpalmApiError({ status, code: codeOfStatus(status), detail, requestId, retryAfter });
}

export function isProblem(json: unknown): json is Problem {
  if (typeof json !== "object" || json === null) return false;
  const { status, code, detail, instance, field }: Partial<Record<keyof Problem, unknown>> = json;
  const isWhole = typeof status === "number" && [code, detail, instance].every(isString);
  return isWhole && (field === undefined || isString(field));
}

/** The value of a JSON string; undefined if the string is not valid JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isString(value: unknown): value is string {
  return typeof value === "string";
}

function inLibraryWords(detail: string, field: string | undefined): string {
  const isPrefixed = field !== undefined && detail.startsWith(`${field}: `);
  return isPrefixed ? libraryField(field) + detail.slice(field.length) : detail;
}

const codesOfStatus: ReadonlyMap<number, ErrorCode> = new Map([
  [401, "unauthorized"],
  [403, "unauthorized"],
  [404, "not_found"],
  [405, "method_not_allowed"],
  [408, "slow_request"],
  [413, "too_large"],
  [415, "unsupported_media"],
  [422, "invalid_media"],
  [429, "rate_limited"],
  [502, "connection_failed"],
  [503, "overloaded"],
  [504, "deadline_exceeded"],
]);

function codeOfStatus(status: number): ErrorCode {
  return codesOfStatus.get(status) ?? (status < 500 ? "invalid_option" : "internal");
}
