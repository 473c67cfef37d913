import type { MediaField } from "../wire.js";
import type { Medium } from "./medium.js";

/** A field of a request and its text; a list is the same field several times. */
export type FormField = readonly [name: string, text: string];

export interface Form {
  readonly contentType: string;
  readonly body: Blob;
}

/** In bytes; that many random ones are in no medium. */
const BOUNDARY_BYTES = 16;

/**
 * A multipart form, written here and not by `FormData`, which turns line feeds in texts into CR LF: the model would see
 * another question than the same call in process does.
 */
export function multipartForm(fields: readonly FormField[], mediaField: MediaField, medium: Medium): Form {
  const boundary = `epalm-${randomHex(BOUNDARY_BYTES)}`;
  const head = (name: string, more = "") =>
    `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n`;
  const parts: (string | Blob)[] = fields.flatMap(([name, text]) => [head(name), text, "\r\n"]);
  if (medium.kind === "bytes") {
    const type = '; filename="medium"\r\nContent-Type: application/octet-stream';
    parts.push(head(mediaField, type), medium.blob, "\r\n");
  } else {
    parts.push(head(mediaField), medium.address, "\r\n");
  }
  parts.push(`--${boundary}--\r\n`);
  return { contentType: `multipart/form-data; boundary=${boundary}`, body: new Blob(parts) };
}

function randomHex(bytes: number): string {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
