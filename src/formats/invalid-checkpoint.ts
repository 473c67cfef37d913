import { EpalmError, messageOf } from "../core/errors.js";

/** Messages contain names from the file, which could be long enough to hide the cause. */
const MAX_CAUSE_LENGTH = 400;

/** The error for a checkpoint that cannot be used. Its message is one printable line: `path: cause`. */
export function invalidCheckpoint(path: string, cause: unknown): EpalmError {
  const line = messageOf(cause).replace(/\p{Cc}/gu, "?");
  const short = line.length > MAX_CAUSE_LENGTH ? `${line.slice(0, MAX_CAUSE_LENGTH)}…` : line;
  return new EpalmError("invalid_checkpoint", `${path}: ${short}`, cause instanceof Error ? { cause } : {});
}

/** The error for a tensor of a torch file that is needed but cannot be read. @param kind such as `a sparse tensor` */
export function unsupportedTensor(path: string, name: string, kind: string): EpalmError {
  return invalidCheckpoint(path, `tensor ${name} is ${kind}, which is not supported`);
}

/**
 * The same error with the file's path in front. An error that is not an `EpalmError` is a bug and is returned as it
 * is.
 */
export function namingFile(path: string, error: unknown): unknown {
  if (!(error instanceof EpalmError) || error.message.startsWith(`${path}: `)) return error;
  return error.code === "invalid_checkpoint"
    ? invalidCheckpoint(path, error)
    : new EpalmError(error.code, `${path}: ${error.message}`, { cause: error });
}
