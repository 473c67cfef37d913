import type { MediaField } from "../../wire.js";
import { FieldError } from "../http/problem.js";

/** The medium of a request and the field that contained it. */
export interface Medium {
  readonly field: MediaField;
  readonly bytes: Uint8Array;
}

/** A medium that the request contains, or the URL of one. */
export type GivenMedium = Medium | { readonly field: MediaField; readonly address: string };

const DATA_URL = /^data:([\w.+-]+\/[\w.+-]+)?((?:;[\w.+-]+=[\w.+-]+)*);base64,/i;

const ALPHABET = /^[A-Za-z0-9+/_-]*={0,2}$/;

/** Number of characters that are checked at each end of a string. The prefix of a data URL is shorter. */
const SAMPLE = 256;

/**
 * Interprets the value of a media field: base64 and data URLs are decoded; an http or https URL is kept.
 *
 * @throws FieldError: invalid_option, too_large
 */
export function givenMedium(field: MediaField, text: string, maxBytes: number): GivenMedium {
  if (/^https?:/i.test(text)) return { field, address: text };
  const [head = ""] = DATA_URL.exec(text.slice(0, SAMPLE)) ?? [];
  if (head === "" && /^[a-z][a-z0-9+.-]*:/i.test(text.slice(0, SAMPLE))) throw notBase64(field);
  return { field, bytes: decodeBase64(text, head.length, field, maxBytes) };
}

function decodeBase64(text: string, start: number, field: MediaField, maxBytes: number): Uint8Array {
  const characters = text.length - start;
  if (characters > Math.ceil((maxBytes * 4) / 3) + 4) {
    throw new FieldError("too_large", field, `expected at most ${maxBytes} bytes`);
  }
  const ends = [text.slice(start, start + SAMPLE), text.slice(Math.max(start, text.length - SAMPLE))];
  const bytes = Buffer.from(start === 0 ? text : text.slice(start), "base64");
  const [, padding = ""] = /(={0,2})$/.exec(text.slice(-2)) ?? [];
  // The decoder skips invalid characters, so invalid base64 gives fewer bytes than expected.
  const expected = Math.floor(((characters - padding.length) * 3) / 4);
  const isWhole = bytes.length === expected && ALPHABET.test(ends[1] ?? "");
  const isText = isWhole && (characters <= SAMPLE || /^[A-Za-z0-9+/_-]*$/.test(ends[0] ?? ""));
  if (!isText || bytes.length === 0) throw notBase64(field);
  return bytes;
}

function notBase64(field: MediaField): FieldError {
  return new FieldError("invalid_option", field, "expected base64, a data:…;base64 URL or an https URL");
}
