import { fileURLToPath } from "node:url";
import { untilAborted } from "../core/abort.js";
import { type Chunks, isChunks, readChunks, readLocalUrl } from "../core/chunks.js";
import { EpalmError, unexpected } from "../core/errors.js";

/**
 * A medium in any of the forms that a program may have one, the same that the client of a service takes: the path of a
 * file, its bytes, a stream of them (which is used up), or a URL of `file:`, `data:` or `blob:`.
 */
export type MediumSource = string | URL | Uint8Array | ArrayBuffer | Blob | Chunks;

/**
 * A path or bytes, of whatever form; what is none of the forms comes back as it is.
 *
 * @throws invalid_option for URLs of other kinds (nothing is fetched from anywhere) and streams that fail, too_large,
 *   aborted
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
      throw unexpected(
        "invalid_option",
        "media",
        "a URL of file, data or blob, since nothing is fetched here",
        url.protocol,
      );
  }
}

function pathOf(url: URL): string {
  try {
    return fileURLToPath(url);
  } catch (error) {
    throw new EpalmError("invalid_option", `media: expected a file: URL of this machine, got ${url.href}`, {
      cause: error,
    });
  }
}

async function bytesOf(blob: Blob): Promise<Uint8Array> {
  return new Uint8Array(await blob.arrayBuffer());
}
