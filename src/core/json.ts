import { readFileSync, statSync } from "node:fs";
import { EpalmError, type ErrorCode, messageOf } from "./errors.js";

/**
 * Parses a JSON document in UTF-8; `where` names it in errors.
 *
 * @throws `code` if it is not JSON
 */
export function parseJson(document: string | Uint8Array, where: string, code: ErrorCode): unknown {
  try {
    const isText = typeof document === "string";
    return JSON.parse(isText ? document : new TextDecoder("utf-8", { fatal: true }).decode(document));
  } catch (error) {
    throw new EpalmError(code, `${where}: is not JSON: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * Reads a JSON file of bounded size.
 *
 * @throws `code` if it is larger or is not JSON
 */
export function readJsonFile(path: string, maxBytes: number, code: ErrorCode): unknown {
  const { size } = statSync(path);
  if (size > maxBytes) throw new EpalmError(code, `${path}: expected at most ${maxBytes} bytes, got ${size}`);
  return parseJson(readFileSync(path), path, code);
}
