import { EpalmError, messageOf } from "../core/errors.js";

/** Names in messages come from the file: a longer message would only push the cause out of sight. */
const MAX_CAUSE_LENGTH = 400;

/** The error of a checkpoint that cannot be used: one printable line, `path: cause`. */
export function invalidCheckpoint(path: string, cause: unknown): EpalmError {
  const line = messageOf(cause).replace(/\p{Cc}/gu, "?");
  const short = line.length > MAX_CAUSE_LENGTH ? `${line.slice(0, MAX_CAUSE_LENGTH)}…` : line;
  return new EpalmError("invalid_checkpoint", `${path}: ${short}`, cause instanceof Error ? { cause } : {});
}

/** The same error with the file in front; what is not ours (a bug) is passed on as it is. */
export function namingFile(path: string, error: unknown): unknown {
  if (!(error instanceof EpalmError) || error.message.startsWith(`${path}: `)) return error;
  return error.code === "invalid_checkpoint"
    ? invalidCheckpoint(path, error)
    : new EpalmError(error.code, `${path}: ${error.message}`, { cause: error });
}
