import { EpalmError } from "../../core/errors.js";

/**
 * Rewrites an error about an option, such as `topK: …`, to name the flag as the user typed it. Other errors are
 * returned unchanged.
 *
 * @param flags flags by the names that the library's messages begin with
 */
export function namingFlags(error: unknown, flags: ReadonlyMap<string, string>): unknown {
  const isAboutOption = error instanceof EpalmError && (error.code === "invalid_option" || error.code === "too_large");
  if (!isAboutOption) return error;
  const { code, message } = error;
  const end = message.indexOf(":");
  const flag = flags.get(message.slice(0, end));
  return flag === undefined ? error : new EpalmError(code, flag + message.slice(end), { cause: error });
}
