import { fileURLToPath } from "node:url";
import { untilAborted } from "../core/abort.js";
import { type Chunks, isChunks, readChunks, readLocalUrl } from "../core/chunks.js";
import { EpalmError, unexpected } from "../core/errors.js";

/**
 * A medium in any form that the HTTP client also accepts: the path of a file, its bytes, a stream of bytes (which is
 * consumed), or a `file:`, `data:` or `blob:` URL.
 */
export type MediumSource = string | URL | Uint8Array | ArrayBuffer | Blob | Chunks;

/**
 * Converts a medium of any form to a path or bytes. Other inputs are returned unchanged.
 *
 * @throws invalid_option for other URLs (nothing is downloaded) and for streams that fail; too_large; aborted
 */
export async function readMedium<Other extends object>(
  input: MediumSource | Other,
  signal: AbortSignal | undefined,
): Promise<string | Uint8Array | Other> {
  if (typeof input === "string" || input instanceof Uint8Array) return input;
  if (input instanceof URL) return readUrl(input);
  if (input instanceof ArrayBuffer) return new Uint8Array(input);
  if (input instanceof Blob) return bytesOf(input);
  return isChunks(input) ? readChunks(input, (work) => untilAborted(work, signal)) : input;
}

async function readUrl(url: URL): Promise<string | Uint8Array> {
  switch (url.protocol) {
    case "file:":
      return pathOf(url);
    case "data:":
    case "blob:":
      return bytesOf(await readLocalUrl(url));
    default:
      throw unexpected("invalid_option", "media", "a file:, data: or blob: URL (nothing is downloaded)", url.protocol);
  }
}

function pathOf(url: URL): string {
  try {
    return fileURLToPath(url);
  } catch (error) {
    throw new EpalmError("invalid_option", `media: expected a file: URL on this machine, got ${url.href}`, {
      cause: error,
    });
  }
}

async function bytesOf(blob: Blob): Promise<Uint8Array> {
  return new Uint8Array(await blob.arrayBuffer());
}
