import type { MediaField } from "../wire.js";
import type { Medium } from "./medium.js";

/** A field of a form and its value. A list repeats the field. */
export type FormField = readonly [name: string, text: string];

export interface Form {
  readonly contentType: string;
  readonly body: Blob;
}

/** In bytes. A random boundary of this length does not occur in any medium. */
const BOUNDARY_BYTES = 16;

/**
 * Builds a multipart form. `FormData` is not used, because it converts line feeds in strings into CR LF, so that the
 * service would get a different question than a loaded model.
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
