import { type Chunks, isChunks, MAX_MEDIUM_BYTES, readChunks, readLocalUrl } from "../core/chunks.js";
import { EpalmError } from "../core/errors.js";
import type { CallClock } from "./call-clock.js";
import { readPath } from "./read-path.js";

/**
 * An image, an audio file or a video:
 * - the path of a file, or a `file:` URL, in Node, Bun and Deno;
 * - its bytes, as Buffer, Uint8Array, ArrayBuffer, Blob or File;
 * - a stream of its bytes, which is read once, to its end;
 * - a `data:` or `blob:` URL;
 * - an `https:` URL, which the *service* fetches if its operator allows the host.
 */
export type MediumInput = string | URL | Uint8Array | ArrayBuffer | Blob | Chunks;

/** A medium as it is sent. Both kinds can be sent repeatedly. */
export type Medium =
  | { readonly kind: "bytes"; readonly blob: Blob }
  | { readonly kind: "address"; readonly address: string };

/**
 * Reads a complete medium, so that the request can be repeated and the form has a known length, which some proxies
 * need. A stream is consumed. The medium stays in memory until the call ends.
 *
 * @throws invalid_option for a value that is not a medium; not_found; invalid_media; too_large; the reason why the call
 *   was stopped
 */
export async function readMedium(input: MediumInput, clock: CallClock): Promise<Medium> {
  if (input instanceof URL) return mediumOfUrl(input, clock);
  if (typeof input === "string") {
    expectPath(input);
    return bytes(await clock.race(readPath(input, MAX_MEDIUM_BYTES, clock.signal)));
  }
  if (input instanceof Blob) return { kind: "bytes", blob: input };
  if (input instanceof Uint8Array || input instanceof ArrayBuffer) return bytes(input);
  if (isChunks(input)) return bytes(await readChunks(input, (work) => clock.race(work)));
  throw invalid("a path, a URL, bytes, a Blob or a stream");
}

async function mediumOfUrl(url: URL, clock: CallClock): Promise<Medium> {
  switch (url.protocol) {
    case "https:":
    case "http:":
      return { kind: "address", address: url.href };
    case "file:":
      return bytes(await clock.race(readPath(url, MAX_MEDIUM_BYTES, clock.signal)));
    case "data:":
    case "blob:":
      // The `fetch` of the client is not used, because these URLs need no network.
      return { kind: "bytes", blob: await clock.race(readLocalUrl(url)) };
    default:
      throw invalid(`a URL of https, file, data or blob, got ${url.protocol}`);
  }
}

function bytes(content: Uint8Array | ArrayBuffer): Medium {
  return { kind: "bytes", blob: new Blob([content]) };
}

/** A string that looks like a URL is almost certainly not meant as a path, so the error explains how to pass a URL. */
function expectPath(text: string): void {
  const [, scheme] = /^(https?|file|data|blob):/i.exec(text) ?? [];
  if (scheme !== undefined) throw invalid(`a path; pass a ${scheme}: URL as new URL(…)`);
  if (text === "") throw invalid("a path, got an empty string");
}

function invalid(expected: string): EpalmError {
  return new EpalmError("invalid_option", `media: expected ${expected}`);
}
