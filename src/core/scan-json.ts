import { EpalmError, unexpected } from "./errors.js";

/** Public JSON files are nested at most twelve deep (tokenizers); the bound keeps readers from exhausting the stack. */
const MAX_DEPTH = 64;

/** Bounds that JSON from outside has to observe before it is parsed, because parsing takes 60 times its memory. */
export interface JsonBounds {
  /** Number of values, counted by brackets and commas. Default: unlimited, for files whose size is limited. */
  readonly maxValues?: number | undefined;
  /** Whether a key that an object contains twice is an error; JSON.parse silently keeps the last. Default: false. */
  readonly uniqueKeys?: boolean | undefined;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const [OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Checks the bounds in one pass without building values. Text that is not JSON passes or fails; the parser reports it.
 *
 * @throws too_large for more nested levels or values; invalid_data for a duplicate key
 */
export function scanJson(text: string, { maxValues = Number.POSITIVE_INFINITY, uniqueKeys = false }: JsonBounds): void {
  let values = 1;
  /** The keys of each open object; undefined for an array. */
  const open: (Set<string> | undefined)[] = [];
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE: {
        const end = endOfString(text, at);
        const keys = uniqueKeys ? open.at(-1) : undefined;
        if (keys && isFollowedByColon(text, end)) addKey(keys, text.slice(at, end + 1));
        at = end;
        break;
      }
      case OPEN_BRACKET:
      case OPEN_BRACE:
        values++;
        open.push(text.charCodeAt(at) === OPEN_BRACE && uniqueKeys ? new Set() : undefined);
        if (open.length > MAX_DEPTH) throw unexpected("too_large", "nesting", `at most ${MAX_DEPTH} levels`, "more");
        break;
      case CLOSE_BRACKET:
      case CLOSE_BRACE:
        open.pop();
        break;
      case COMMA:
        values++;
        break;
      default:
    }
    if (values > maxValues) throw unexpected("too_large", "size", `at most ${maxValues} values`, "more");
  }
}

/** The position of the quotation mark that ends the string. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at;
    if (code === BACKSLASH) at++;
  }
  return text.length;
}

function isFollowedByColon(text: string, end: number): boolean {
  let at = end + 1;
  while (/[ \t\r\n]/.test(text.charAt(at))) at++;
  return text.charCodeAt(at) === COLON;
}

function addKey(keys: Set<string>, quoted: string): void {
  let key = quoted.slice(1, -1);
  if (quoted.includes("\\")) {
    try {
      key = String(JSON.parse(quoted));
    } catch {
      // The parser reports it.
    }
  }
  if (keys.has(key)) throw new EpalmError("invalid_data", `contains the key '${key}' twice`);
  keys.add(key);
}
