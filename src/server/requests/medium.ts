import { decodeBase64, decodeDataUrl, isDataUrl } from "../../core/encoded-bytes.js";
import type { MediaField } from "../../wire.js";
import { namingFields } from "../http/problem.js";

/** The medium of a request and the field that contained it. */
export interface Medium {
  readonly field: MediaField;
  readonly bytes: Uint8Array;
}

/** A medium that the request contains, or the URL of one. */
export type GivenMedium = Medium | { readonly field: MediaField; readonly address: string };

/** Number of characters at the start of a string that decide what it is. */
const SAMPLE = 256;

/**
 * Interprets the value of a media field: base64 and data URLs are decoded; an http or https URL is kept.
 *
 * @throws FieldError: invalid_option, too_large
 */
export function givenMedium(field: MediaField, text: string, maxBytes: number): GivenMedium {
  const [, scheme] = /^\s*([a-z][a-z0-9+.-]*):/i.exec(text.slice(0, SAMPLE)) ?? [];
  if (/^https?$/i.test(scheme ?? "")) return { field, address: text.trim() };
  try {
    return { field, bytes: isDataUrl(text) ? decodeDataUrl(text, maxBytes) : decodeBase64(text, maxBytes) };
  } catch (error) {
    throw namingFields(error, field);
  }
}
