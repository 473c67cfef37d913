/**
 * The one catalogue of errors: what went wrong, as a stable code, and the HTTP status that says so.
 * Messages say where, what was expected and what was got; they are written for the user who reads them.
 */

const catalogue = {
  /** An argument, option or request field has a value that cannot be used. */
  invalid_option: 400,
  /** The request carries no key, or one that is not known. */
  unauthorized: 401,
  /** The named file, folder, model, adapter or task does not exist. */
  not_found: 404,
  /** The address exists, but not for this HTTP method. */
  method_not_allowed: 405,
  /** A request took too long to arrive. */
  slow_request: 408,
  /** The input is larger than a stated limit. */
  too_large: 413,
  /** The bytes are of no media type that can be read. */
  unsupported_media: 415,
  /** The bytes claim a media type but cannot be decoded. */
  invalid_media: 422,
  /** A checkpoint file is damaged, or is not what its name says. */
  invalid_checkpoint: 422,
  /** A checkpoint is whole, but of an architecture or a setting that is not supported. */
  unsupported_architecture: 422,
  /** An adapter file is damaged or does not fit the model folder. */
  invalid_adapter: 422,
  /** A model folder is damaged, incomplete or of another version. */
  invalid_model: 422,
  /** A data set for training or evaluation holds examples that cannot be used. */
  invalid_data: 422,
  /** Training went astray: its loss is no number any more. */
  diverged: 422,
  /** More requests came from one client than it may send. */
  rate_limited: 429,
  /** A graph violates its own types or shapes; always a fault of the code that built it. */
  invalid_graph: 500,
  /** A graph cannot be differentiated: an operator has no gradient rule. */
  missing_gradient: 500,
  /** A download failed, was cut short, or is switched off. */
  download_failed: 502,
  /** A service could not be reached, or what came back is cut short or none of its answers. */
  connection_failed: 502,
  /** The caller took the request back. */
  aborted: 499,
  /** All places are taken, those that wait included; or the service is ending. Coming again later helps. */
  overloaded: 503,
  /** The answer was not ready within the time that a request has; its work was given up. */
  deadline_exceeded: 504,
  /** The runtime or a worker thread failed. */
  internal: 500,
} as const;

export type ErrorCode = keyof typeof catalogue;

/** Whether a text that came from elsewhere is a code of the catalogue. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(catalogue, text);
}

/** Every error that epalm throws on purpose. */
export class EpalmError extends Error {
  override readonly name: string = "EpalmError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** The HTTP status that says the same. */
  get status(): number {
    return catalogue[this.code];
  }
}

/** A value that is not what it must be: the form of most messages. @param received in the words of the reader */
export function unexpected(
  code: ErrorCode,
  where: string,
  expected: string,
  received: string | number,
): EpalmError {
  return new EpalmError(code, `${where}: expected ${expected}, got ${received}`);
}

/** More bytes than a limit permits; `received` is unknown where reading stopped at the limit. */
export function tooManyBytes(where: string, limit: number, received?: number): EpalmError {
  const got = received === undefined ? "" : `, got ${received}`;
  return new EpalmError("too_large", `${where}: expected at most ${limit} bytes${got}`);
}

/** A path at which there is no file. */
export function fileNotFound(path: string, options?: ErrorOptions): EpalmError {
  return new EpalmError("not_found", `${path}: no such file`, options);
}

/** A path at which there is nothing. */
export function pathNotFound(path: string): EpalmError {
  return new EpalmError("not_found", `${path}: no such file or folder`);
}

/** A call that its caller cancelled. @param what `the request`, `the download` */
export function cancelled(what: string, cause?: unknown): EpalmError {
  return new EpalmError("aborted", `${what} was cancelled`, { cause });
}

/** The message of anything that was thrown, on one line. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s+/g, " ").trim();
}
