import { type Chunks, isChunks, MAX_MEDIUM_BYTES, readChunks, readLocalUrl } from "../core/chunks.js";
import { EpalmError } from "../core/errors.js";
import type { CallClock } from "./call-clock.js";
import { readPath } from "./read-path.js";

/**
 * A picture, a sound or a video, in any of the forms that a program may have one:
 * - the path of a file, or a `file:` URL: in Node, Bun and Deno;
 * - its bytes, as Buffer, Uint8Array, ArrayBuffer, Blob or File;
 * - a stream of its bytes, which is read once, to its end;
 * - a `data:` or `blob:` URL;
 * - an `https:` URL, which the *service* fetches, if its operator trusts that host.
 */
export type MediumInput = string | URL | Uint8Array | ArrayBuffer | Blob | Chunks;

/** What is sent of a medium. Either can be sent again, whatever it was made of. */
export type Medium =
  | { readonly kind: "bytes"; readonly blob: Blob }
  | { readonly kind: "address"; readonly address: string };

/**
 * Reads a medium, whole: only then can a request be repeated, and a form states its length, which proxies like. A
 * stream is used up by it; the medium is in memory until the call ends.
 *
 * @throws invalid_option for what is no medium, not_found, too_large, and why the call was broken off
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
      // Not with the client's own fetch: nothing of it goes over a network.
      return { kind: "bytes", blob: await clock.race(readLocalUrl(url)) };
    default:
      throw invalid(`a URL of https, file, data or blob, got ${url.protocol}`);
  }
}

function bytes(content: Uint8Array | ArrayBuffer): Medium {
  return { kind: "bytes", blob: new Blob([content]) };
}

/** A text that looks like an address would be a path that leads nowhere: better said. */
function expectPath(text: string): void {
  const [, scheme] = /^(https?|file|data|blob):/i.exec(text) ?? [];
  if (scheme !== undefined) throw invalid(`a path; a ${scheme}: address is given as new URL(…)`);
  if (text === "") throw invalid("a path, got an empty text");
}

function invalid(expected: string): EpalmError {
  return new EpalmError("invalid_option", `media: expected ${expected}`);
}
