/**
 * The catalogue of errors: a stable code for each kind of failure, and the HTTP status that corresponds to it.
 * Messages state where the problem is, what was expected and what was received, in words for the user who reads them.
 */

const catalogue = {
  /** An argument, option or request field has a value that cannot be used. */
  invalid_option: 400,
  /** The request contains no API key, or an unknown one. */
  unauthorized: 401,
  /** The named file, folder, model, adapter or task does not exist. */
  not_found: 404,
  /** The address exists, but not for this HTTP method. */
  method_not_allowed: 405,
  /** A request took too long to arrive. */
  slow_request: 408,
  /** Another process is writing the same file or folder. */
  in_use: 409,
  /** The input is larger than a documented limit. */
  too_large: 413,
  /** The header `Expect` of a request asks for something other than `100-continue`. */
  expectation_failed: 417,
  /** The bytes are not of a supported media type. */
  unsupported_media: 415,
  /** The bytes begin like a supported media type but cannot be decoded. */
  invalid_media: 422,
  /** A checkpoint file is damaged, or is not in the format that its name indicates. */
  invalid_checkpoint: 422,
  /** A checkpoint is intact, but its architecture or one of its settings is not supported. */
  unsupported_architecture: 422,
  /** An adapter file is damaged or does not fit the model folder. */
  invalid_adapter: 422,
  /** A model folder is damaged, incomplete or of another version. */
  invalid_model: 422,
  /** A data set for training or evaluation contains examples that cannot be used. */
  invalid_data: 422,
  /** The medium is unlike those that the adapter was trained on, and the request or the service refuses such media. */
  unfamiliar: 422,
  /** Training diverged: the loss is NaN or Infinity. */
  diverged: 422,
  /** A client sent more requests than its rate limit allows. */
  rate_limited: 429,
  /** The headers of a request are larger than the service accepts. */
  headers_too_large: 431,
  /** A graph violates its own types or shapes. This is always a bug in the code that built it. */
  invalid_graph: 500,
  /** A graph cannot be differentiated: an operator has no gradient rule. */
  missing_gradient: 500,
  /** A download failed, was incomplete, or is disabled. */
  download_failed: 502,
  /** A service could not be reached, or its response is incomplete or not one that epalm sends. */
  connection_failed: 502,
  /** The caller cancelled the request. */
  aborted: 499,
  /** The queue or the space for temporary files is full, or the service is shutting down. A retry may succeed. */
  overloaded: 503,
  /** A worker thread ended while it worked on the request, and is being replaced. The client can retry. */
  unavailable: 503,
  /** The answer was not ready before the request's deadline, and its computation was stopped. */
  deadline_exceeded: 504,
  /** The runtime or a worker thread failed. */
  internal: 500,
} as const;

/** A stable code of the catalogue of errors; each has one HTTP status. */
export type ErrorCode = keyof typeof catalogue;

/** Whether a string from outside is a code of the catalogue. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(catalogue, text);
}

/**
 * The only error class that epalm throws on purpose.
 *
 * @example
 * ```ts
 * import { EpalmError, load } from "epalm";
 * try {
 *   await load("no-such-folder");
 * } catch (error) {
 *   if (error instanceof EpalmError && error.code === "not_found") console.error(error.message);
 * }
 * ```
 */
export class EpalmError extends Error {
  override readonly name: string = "EpalmError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** The HTTP status that corresponds to the code. */
  get status(): number {
    return catalogue[this.code];
  }
}

/** A value that differs from what was expected; most messages have this form. @param received in the user's words */
export function unexpected(code: ErrorCode, where: string, expected: string, received: string | number): EpalmError {
  return new EpalmError(code, `${where}: expected ${expected}, got ${received}`);
}

/** More bytes than a limit permits. `received` is undefined if reading stopped at the limit. */
export function tooManyBytes(where: string, limit: number, received?: number): EpalmError {
  const got = received === undefined ? "" : `, got ${received}`;
  return new EpalmError("too_large", `${where}: expected at most ${limit} bytes${got}`);
}

/** There is no file at the path. */
export function fileNotFound(path: string, options?: ErrorOptions): EpalmError {
  return new EpalmError("not_found", `${path}: no such file`, options);
}

/** There is neither a file nor a folder at the path. */
export function pathNotFound(path: string): EpalmError {
  return new EpalmError("not_found", `${path}: no such file or folder`);
}

/** The caller cancelled a call. @param what the subject of the message: `the request`, `the download` */
export function cancelled(what: string, cause?: unknown): EpalmError {
  return new EpalmError("aborted", `${what} was cancelled`, { cause });
}

/** Characters of a piece of a request or a file that messages quote. */
const MAX_EXCERPT = 80;

/** The beginning of a string from outside, which may be arbitrarily long, for a message. */
export function excerpt(text: string, most = MAX_EXCERPT): string {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

/** The message of any thrown value, on one line. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s+/g, " ").trim();
}
