import { EpalmError, messageOf } from "./errors.js";

/** Bytes that come one piece after the other: a web stream, a stream of Node, a generator. */
export type Chunks = ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;

/** Takes pieces out of a stream of either kind. */
export interface ChunkReader {
  next(): Promise<IteratorResult<unknown, unknown>>;
  /** Reads no further. */
  close(): Promise<unknown>;
}

/** Web streams by their reader: not every browser can iterate over them. */
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

/** A camera's stream has no end: it must not fill the memory. Above what services take (64 MiB, unless told otherwise). */
export const MAX_MEDIUM_BYTES = 256 * 1024 * 1024;

export function isChunks(value: unknown): value is Chunks {
  if (typeof value !== "object" || value === null) return false;
  return Symbol.asyncIterator in value || value instanceof ReadableStream;
}

/**
 * All pieces of a medium's stream, which is used up by it.
 *
 * @param race gives what a promise gives, unless the call that reads is over first
 * @throws too_large; invalid_option for a stream that fails or is none of bytes; what `race` throws
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
    // Whoever fills the stream learns that nobody reads on; it may take its time, or fail at it.
    chunks.close().catch(() => undefined);
    if (error instanceof EpalmError) throw error;
    throw new EpalmError("invalid_option", `media: its stream failed: ${messageOf(error)}`, {
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
 * The content of a `data:` or `blob:` URL, which nothing needs a network for.
 *
 * @throws invalid_option
 */
export async function readLocalUrl(url: URL): Promise<Blob> {
  try {
    return await (await fetch(url)).blob();
  } catch (error) {
    throw new EpalmError("invalid_option", `media: the ${url.protocol} URL: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
