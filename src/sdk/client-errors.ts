import { EpalmError, type ErrorCode, isErrorCode } from "../core/errors.js";
import type { Problem } from "../wire.js";
import { libraryField } from "./library-field.js";

/**
 * Errors of the client. All are `EpalmError`s with a code of the library's catalogue, so that code which looks at codes
 * need not know whether a model runs here or behind a service.
 */

/** Longer bodies than that of a problem tell nothing more; UTF-16 units that are shown. */
const MAX_SHOWN = 200;

/** What is known of an answer that says no. */
export interface Refusal {
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly field?: string | undefined;
  readonly requestId?: string | undefined;
  readonly retryAfter?: number | undefined;
}

/** The service answered, and the answer is an error. */
export class EpalmApiError extends EpalmError {
  override readonly name = "EpalmApiError";
  /** The option or field that is wrong, where one is: as the client calls it, `maxNewTokens` for `max_tokens`. */
  readonly field: string | undefined;
  /** In the service's own words. */
  readonly detail: string;
  /** What the service's log calls the request; undefined if something else answered for it, such as a proxy. */
  readonly requestId: string | undefined;
  /** Seconds to stay away, where the service said so. */
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

  /** The HTTP status of the answer. */
  override get status(): number {
    return this.#status;
  }
}

/** The service could not be reached, broke off, or answered something that no epalm service says. */
export class EpalmConnectionError extends EpalmError {
  override readonly name = "EpalmConnectionError";
  /** Whether the same may work another time: not for an answer in a language that is not the service's. */
  readonly isTransient: boolean;

  constructor(message: string, options: ErrorOptions & { readonly isTransient: boolean }) {
    super("connection_failed", message, options);
    this.isTransient = options.isTransient;
  }
}

/** The call's `timeout` passed. */
export class EpalmTimeoutError extends EpalmError {
  override readonly name = "EpalmTimeoutError";
  /** Milliseconds. */
  readonly timeout: number;

  constructor(timeout: number) {
    super("deadline_exceeded", `no whole answer within ${timeout} ms`);
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

/** The error that a problem of the service states. */
export function problemError({ status, code, detail, field, instance }: Problem, retryAfter?: number): EpalmApiError {
  return new EpalmApiError({
    status,
    // A newer service may know codes that this client does not.
    code: isErrorCode(code) ? code : codeOfStatus(status),
    detail,
    field,
    requestId: instance,
    retryAfter,
  });
}

/** The error that an answer states which is no success: a problem, or whatever a proxy put in its place. */
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

/** The value of a JSON text; undefined if it is none. */
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
