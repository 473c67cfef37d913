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
