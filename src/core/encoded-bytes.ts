import { EpalmError, tooManyBytes } from "./errors.js";

/**
 * Bytes inside strings: base64 and `data:` URLs (RFC 2397). The library, the client and the service share this parser,
 * so that the same string gives the same bytes everywhere. It also accepts what common programs write, although `fetch`
 * rejects or misreads it: base64 with the alphabet of URLs, and commas in parameters (`codecs=vp8,opus`, as browsers
 * write them). It runs in browsers and therefore uses no Buffer.
 */

/** The header of a `data:` URL ends within this many characters; longer ones are rejected. */
const MAX_HEADER = 4096;

const BASE64_END = /;\s*base64\s*,/gi;

/** A parameter, once quoted strings are removed. Without the excluded characters, markup is not a parameter. */
const PARAMETER = /^\s*[\w!#$&^.+-]+\s*(=[^=<>:'"]*)?$/;

const QUOTED = /"(?:[^"\\]|\\.)*"|%22[^"]*?%22/g;

const SPACE = /\s/;

const INVALID = 255;

/** Value of each base64 digit by its character code; `INVALID` for all other characters. */
const digits = new Uint8Array(65_536).fill(INVALID);
for (const [value, digit] of Array.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/").entries()) {
  digits[digit.charCodeAt(0)] = value;
}
digits["-".charCodeAt(0)] = 62;
digits["_".charCodeAt(0)] = 63;

const [PERCENT, EQUALS] = [0x25, 0x3d];

/** Whether a string is a `data:` URL. */
export function isDataUrl(text: string): boolean {
  return /^\s*data:/i.test(text.slice(0, MAX_HEADER));
}

/**
 * The content of a `data:` URL.
 *
 * @throws invalid_option for an incomplete header, invalid base64 or no content; too_large for more than `maxBytes`
 */
export function decodeDataUrl(url: string, maxBytes: number): Uint8Array<ArrayBuffer> {
  const start = url.indexOf(":") + 1;
  const { end, isBase64 } = headerOf(url.slice(start, start + MAX_HEADER));
  const content = start + end;
  if (!isBase64) return decodeText(url.slice(content), maxBytes);
  // A number sign begins the fragment, which is not part of the content. Text keeps it, because many programs write
  // colours in SVG (`#f00`) without escaping them.
  const fragment = url.indexOf("#", content);
  return decodeBase64(fragment < 0 ? url.slice(content) : url.slice(content, fragment), maxBytes);
}

/** Finds the comma that ends the header; `end` is the position after it. */
function headerOf(head: string): { readonly end: number; readonly isBase64: boolean } {
  for (const found of head.matchAll(BASE64_END)) {
    if (isHeader(head.slice(0, found.index))) return { end: found.index + found[0].length, isBase64: true };
  }
  const unquoted = head.replace(QUOTED, (quoted) => "q".repeat(quoted.length));
  const comma = unquoted.indexOf(",");
  if (comma < 0) throw new EpalmError("invalid_option", "media: expected a comma after the header of the data: URL");
  const isBase64 = /;\s*base64\s*(;|$)/i.test(unquoted.slice(0, comma));
  return { end: comma + 1, isBase64 };
}

/** Whether a string consists of a media type and parameters. */
function isHeader(text: string): boolean {
  const [type = "", ...parameters] = text.replace(QUOTED, "q").split(";");
  return /^\s*([\w.+-]+\/[\w.+-]+)?\s*$/.test(type) && parameters.every((parameter) => PARAMETER.test(parameter));
}

/** Text in which any byte may be escaped as `%XX`, in UTF-8. */
function decodeText(text: string, maxBytes: number): Uint8Array<ArrayBuffer> {
  // Each UTF-16 unit gives at least a third of a byte.
  if (text.length > 3 * maxBytes) throw tooManyBytes("media", maxBytes);
  const escaped = new TextEncoder().encode(text);
  const bytes = new Uint8Array(escaped.length);
  let length = 0;
  for (let at = 0; at < escaped.length; at++) {
    const byte = escaped[at] ?? 0;
    const code = byte === PERCENT ? hexByte(escaped[at + 1], escaped[at + 2]) : undefined;
    if (code !== undefined) at += 2;
    bytes[length++] = code ?? byte;
  }
  return expectBytes(bytes.subarray(0, length), maxBytes);
}

/**
 * The bytes of base64, with `+/` or `-_`, with or without padding, and with whitespace and `%XX` anywhere.
 *
 * @throws invalid_option for other characters, an incomplete last byte or no content; too_large
 */
export function decodeBase64(text: string, maxBytes: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Math.min(maxBytes + 1, Math.ceil((text.length * 3) / 4)));
  let length = 0;
  let bits = 0;
  let count = 0;
  let padding = 0;
  for (let at = 0; at < text.length; at++) {
    if (padding === 0 && count % 4 === 0) {
      const run = decodeRun(text, at, bytes, length);
      at += run * 4;
      length += run * 3;
      if (length > maxBytes) throw tooManyBytes("media", maxBytes);
      if (at >= text.length) break;
    }
    let code = text.charCodeAt(at);
    if (code === PERCENT) {
      code = hexByte(text.charCodeAt(at + 1), text.charCodeAt(at + 2)) ?? code;
      if (code !== PERCENT) at += 2;
    }
    const digit = digits[code] ?? INVALID;
    if (digit === INVALID) {
      if (code === EQUALS) padding++;
      else if (!SPACE.test(String.fromCharCode(code))) throw notBase64();
      continue;
    }
    if (padding > 0) throw notBase64();
    bits = (bits << 6) | digit;
    if (++count % 4 === 1) continue;
    bytes[length++] = (bits >> (6 - 2 * ((count - 1) % 4))) & 255;
    if (length > maxBytes) throw tooManyBytes("media", maxBytes);
  }
  if (padding > 2 || count % 4 === 1) throw notBase64();
  return expectBytes(bytes.subarray(0, length), maxBytes);
}

/** Decodes groups of four digits, the common case, up to the first other character; returns the number of groups. */
function decodeRun(text: string, start: number, bytes: Uint8Array, length: number): number {
  const most = Math.min(Math.floor((text.length - start) / 4), Math.floor((bytes.length - length) / 3));
  let at = start;
  let to = length;
  for (let run = 0; run < most; run++) {
    const a = digits[text.charCodeAt(at++)] ?? INVALID;
    const b = digits[text.charCodeAt(at++)] ?? INVALID;
    const c = digits[text.charCodeAt(at++)] ?? INVALID;
    const d = digits[text.charCodeAt(at++)] ?? INVALID;
    if ((a | b | c | d) > 63) return run;
    bytes[to++] = (a << 2) | (b >> 4);
    bytes[to++] = (b << 4) | (c >> 2);
    bytes[to++] = (c << 6) | d;
  }
  return most;
}

function hexByte(high: number | undefined, low: number | undefined): number | undefined {
  const value =
    Number.parseInt(String.fromCharCode(high ?? 0), 16) * 16 + Number.parseInt(String.fromCharCode(low ?? 0), 16);
  return Number.isNaN(value) ? undefined : value;
}

/** Returns bytes with a buffer of exactly their length, which can be transferred to another thread. */
function expectBytes(bytes: Uint8Array<ArrayBuffer>, maxBytes: number): Uint8Array<ArrayBuffer> {
  if (bytes.length > maxBytes) throw tooManyBytes("media", maxBytes);
  if (bytes.length === 0) throw notBase64();
  return bytes.length === bytes.buffer.byteLength ? bytes : bytes.slice();
}

function notBase64(): EpalmError {
  return new EpalmError("invalid_option", "media: expected base64, a data: URL or an https URL");
}
