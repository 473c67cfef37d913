import { readFileSync, statSync } from "node:fs";
import { EpalmError, type ErrorCode, messageOf } from "./errors.js";
import { type JsonBounds, scanJson } from "./scan-json.js";

/**
 * Parses a JSON document in UTF-8 after checking its bounds; `where` names it in errors.
 *
 * @throws `code` if it is not JSON or exceeds the bounds
 */
export function parseJson(
  document: string | Uint8Array,
  where: string,
  code: ErrorCode,
  bounds: JsonBounds = {},
): unknown {
  try {
    const isText = typeof document === "string";
    const text = isText ? document : new TextDecoder("utf-8", { fatal: true }).decode(document);
    scanJson(text, bounds);
    return JSON.parse(text);
  } catch (error) {
    const cause = error instanceof EpalmError ? error.message : `is not JSON: ${messageOf(error)}`;
    throw new EpalmError(code, `${where}: ${cause}`, { cause: error });
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

/** Public configs are nested at most four deep; the bound keeps a hostile file from exhausting the call stack. */
const MAX_DEPTH = 32;

/**
 * The same JSON without keys whose value is null, at any depth down to `MAX_DEPTH`. transformers writes unset keys as
 * null, in place of omitting them.
 */
export function withoutNulls(value: unknown, depth = 0): unknown {
  if (depth === MAX_DEPTH || typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((element) => withoutNulls(element, depth + 1));
  const entries = Object.entries(value).filter(([, member]) => member !== null);
  return Object.fromEntries(entries.map(([key, member]) => [key, withoutNulls(member, depth + 1)]));
}
