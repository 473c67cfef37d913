import { decodeDataUrl } from "./encoded-bytes.js";
import { EpalmError, messageOf } from "./errors.js";

/** A sequence of byte arrays: a web stream, a Node stream or an async generator. */
export type Chunks = ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;

/** Reads pieces from a stream of either kind. */
export interface ChunkReader {
  next(): Promise<IteratorResult<unknown, unknown>>;
  /** Stops reading. */
  close(): Promise<unknown>;
}

/** Reads web streams through their reader, because not every browser can iterate over them. */
export function chunksOf(stream: Chunks): ChunkReader {
  if (stream instanceof ReadableStream) {
    const reader = stream.getReader();
    return {
      next: async () => {
        const { done, value } = await reader.read();
        return done ? { done, value: undefined } : { done: false, value };
      },
      close: () => reader.cancel(),
    };
  }
  const iterator = stream[Symbol.asyncIterator]();
  return { next: () => iterator.next(), close: async () => iterator.return?.() };
}

/** Bounds streams that have no end, such as a camera's. Larger than the default limit of a service, 64 MiB. */
export const MAX_MEDIUM_BYTES = 256 * 1024 * 1024;

export function isChunks(value: unknown): value is Chunks {
  if (typeof value !== "object" || value === null) return false;
  return Symbol.asyncIterator in value || value instanceof ReadableStream;
}

/**
 * Reads a medium's stream to its end and returns all of its bytes.
 *
 * @param race waits for a promise, but rejects if the calling operation ends first
 * @throws `too_large`; `invalid_option` if the stream fails or does not yield bytes; the errors of `race`
 */
export async function readChunks(
  stream: Chunks,
  race: <T>(work: Promise<T>) => Promise<T>,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks = chunksOf(stream);
  const pieces: Uint8Array[] = [];
  let total = 0;
  try {
    for (;;) {
      const next = await race(chunks.next());
      if (next.done) return joined(pieces, total);
      if (!(next.value instanceof Uint8Array)) {
        throw new EpalmError("invalid_option", "media: expected a stream of bytes");
      }
      total += next.value.byteLength;
      if (total > MAX_MEDIUM_BYTES) {
        const expected = `expected at most ${MAX_MEDIUM_BYTES} bytes`;
        throw new EpalmError("too_large", `media: ${expected}, the stream has more`);
      }
      pieces.push(next.value);
    }
  } catch (error) {
    // Tells the producer that reading has stopped. Closing may take time or fail, so it is not awaited.
    chunks.close().catch(() => undefined);
    if (error instanceof EpalmError) throw error;
    throw new EpalmError("invalid_option", `media: the stream failed: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function joined(pieces: readonly Uint8Array[], total: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(total);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}

/**
 * The content of a `data:` or `blob:` URL, which needs no network.
 *
 * @throws `invalid_option`, `too_large`
 */
export async function readLocalUrl(url: URL): Promise<Blob> {
  if (url.protocol === "data:") return new Blob([decodeDataUrl(url.href, MAX_MEDIUM_BYTES)]);
  try {
    return await (await fetch(url)).blob();
  } catch (error) {
    throw new EpalmError("invalid_option", `media: the ${url.protocol} URL: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
