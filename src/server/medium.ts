import type { MediaField } from "../wire.js";
import { FieldError } from "./problem.js";
import { fetchMedium, type RemoteLimits } from "./remote-media.js";

/** The medium of a request, and the field that it came in. */
export interface Medium {
  readonly field: MediaField;
  readonly bytes: Uint8Array;
}

const DATA_URL = /^data:([\w.+-]+\/[\w.+-]+)?((?:;[\w.+-]+=[\w.+-]+)*);base64,/i;

const ALPHABET = /^[A-Za-z0-9+/_-]*={0,2}$/;

/** Checked at once: expressions on whole pictures would hold up all others. */
const SAMPLE = 256;

/**
 * The bytes that a text stands for: base64, a data URL, or an https address.
 *
 * @throws FieldError: invalid_option, too_large, and what `fetchMedium` throws
 */
export async function mediumBytes(
  text: string,
  field: string,
  limits: RemoteLimits,
  signal: AbortSignal,
): Promise<Uint8Array> {
  if (/^https?:/i.test(text)) return fetchMedium(text, field, limits, signal);
  const [head = ""] = DATA_URL.exec(text.slice(0, SAMPLE)) ?? [];
  if (head === "" && /^[a-z][a-z0-9+.-]*:/i.test(text.slice(0, SAMPLE))) {
    throw new FieldError("invalid_option", field, "expected base64, a data:…;base64 URL or an https address");
  }
  return decodeBase64(text, head.length, field, limits.maxBytes);
}

function decodeBase64(text: string, start: number, field: string, maxBytes: number): Uint8Array {
  const characters = text.length - start;
  if (characters > Math.ceil((maxBytes * 4) / 3) + 4) {
    throw new FieldError("too_large", field, `expected at most ${maxBytes} bytes`);
  }
  const ends = [text.slice(start, start + SAMPLE), text.slice(Math.max(start, text.length - SAMPLE))];
  const bytes = Buffer.from(start === 0 ? text : text.slice(start), "base64");
  const [, padding = ""] = /(={0,2})$/.exec(text.slice(-2)) ?? [];
  // What is no base64 is passed over by the decoder, which then gives fewer bytes.
  const expected = Math.floor(((characters - padding.length) * 3) / 4);
  const isWhole = bytes.length === expected && ALPHABET.test(ends[1] ?? "");
  const isText = isWhole && (characters <= SAMPLE || /^[A-Za-z0-9+/_-]*$/.test(ends[0] ?? ""));
  if (!isText || bytes.length === 0) {
    throw new FieldError("invalid_option", field, "expected base64, a data:…;base64 URL or an https address");
  }
  return bytes;
}
