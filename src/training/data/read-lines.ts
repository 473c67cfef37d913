import { closeSync, createReadStream, openSync, readSync } from "node:fs";

/** In bytes. A line holds one example; a thousand captions of a thousand characters fit. */
export const MAX_LINE_BYTES = 1024 * 1024;

const LINE_FEED = 0x0a;

interface Placed {
  /** Counted from 1. */
  readonly number: number;
  /** Whether a line feed follows. */
  readonly hasEnd: boolean;
}

/** A line of a file, without its line feed (a carriage return before that stays). */
export type Line = Placed &
  (
    | { readonly kind: "text"; readonly text: string }
    | { readonly kind: "bad"; readonly cause: string; readonly isTooLong: boolean }
  );

/**
 * Reads UTF-8 line by line, with at most one line in memory. A line that is too long or not UTF-8 is reported as bad; a
 * byte order mark is removed.
 *
 * @param source the path of a file, or its bytes in order
 */
export async function* readLines(
  source: string | AsyncIterable<Uint8Array>,
  maxBytes: number = MAX_LINE_BYTES,
): AsyncGenerator<Line> {
  const splitter = new LineSplitter(maxBytes);
  for await (const chunk of typeof source === "string" ? createReadStream(source) : source) {
    yield* splitter.push(chunk);
  }
  yield* splitter.end();
}

/** Bytes that are read at a time. */
const CHUNK_BYTES = 256 * 1024;

/** The same without waiting, for files that are read before anything else happens. */
export function* readLinesSync(path: string, maxBytes: number = MAX_LINE_BYTES): Generator<Line> {
  const splitter = new LineSplitter(maxBytes);
  const descriptor = openSync(path, "r");
  try {
    for (;;) {
      // A new buffer each time, because the splitter keeps parts of them.
      const chunk = Buffer.alloc(CHUNK_BYTES);
      const length = readSync(descriptor, chunk);
      if (length === 0) break;
      yield* splitter.push(chunk.subarray(0, length));
    }
    yield* splitter.end();
  } finally {
    closeSync(descriptor);
  }
}

class LineSplitter {
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  readonly #maxBytes: number;
  #number = 0;
  /** Parts of the current line; empty once it is too long. */
  #parts: Uint8Array[] = [];
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  *push(chunk: Uint8Array): Generator<Line> {
    let start = 0;
    for (let end = chunk.indexOf(LINE_FEED); end !== -1; end = chunk.indexOf(LINE_FEED, start)) {
      this.#extend(chunk.subarray(start, end));
      yield this.#finish(true);
      start = end + 1;
    }
    this.#extend(chunk.subarray(start));
  }

  *end(): Generator<Line> {
    if (this.#bytes > 0) yield this.#finish(false);
  }

  #extend(part: Uint8Array): void {
    this.#bytes += part.length;
    if (this.#bytes > this.#maxBytes) this.#parts = [];
    else this.#parts.push(part);
  }

  #finish(hasEnd: boolean): Line {
    const [parts, bytes] = [this.#parts, this.#bytes];
    this.#parts = [];
    this.#bytes = 0;
    this.#number++;
    const placed = { number: this.#number, hasEnd };
    if (bytes > this.#maxBytes) {
      return {
        kind: "bad",
        ...placed,
        isTooLong: true,
        cause: `expected at most ${this.#maxBytes} bytes, got ${bytes}`,
      };
    }
    try {
      return { kind: "text", ...placed, text: this.#decoder.decode(Buffer.concat(parts)) };
    } catch {
      return { kind: "bad", ...placed, isTooLong: false, cause: "expected UTF-8, got invalid bytes" };
    }
  }
}
