import { createReadStream } from "node:fs";

/** In bytes. A line holds one example; a thousand captions of a thousand characters fit. */
export const MAX_LINE_BYTES = 1024 * 1024;

const LINE_FEED = 0x0a;

/** A line of a file, counted from 1, without its line feed (a carriage return before that stays). */
export type Line =
  | { readonly kind: "text"; readonly number: number; readonly text: string }
  | { readonly kind: "bad"; readonly number: number; readonly cause: string };

/**
 * Reads a UTF-8 file line by line, with at most one line in memory. A line that is too long or not UTF-8 is reported as
 * bad; a byte order mark is removed.
 */
export async function* readLines(path: string): AsyncGenerator<Line> {
  const splitter = new LineSplitter();
  for await (const chunk of createReadStream(path)) yield* splitter.push(chunk);
  yield* splitter.end();
}

class LineSplitter {
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  #number = 0;
  /** Parts of the current line; empty once it is too long. */
  #parts: Uint8Array[] = [];
  #bytes = 0;

  *push(chunk: Uint8Array): Generator<Line> {
    let start = 0;
    for (let end = chunk.indexOf(LINE_FEED); end !== -1; end = chunk.indexOf(LINE_FEED, start)) {
      this.#extend(chunk.subarray(start, end));
      yield this.#finish();
      start = end + 1;
    }
    this.#extend(chunk.subarray(start));
  }

  *end(): Generator<Line> {
    if (this.#bytes > 0) yield this.#finish();
  }

  #extend(part: Uint8Array): void {
    this.#bytes += part.length;
    if (this.#bytes > MAX_LINE_BYTES) this.#parts = [];
    else this.#parts.push(part);
  }

  #finish(): Line {
    const [parts, bytes] = [this.#parts, this.#bytes];
    this.#parts = [];
    this.#bytes = 0;
    this.#number++;
    const number = this.#number;
    if (bytes > MAX_LINE_BYTES) {
      return { kind: "bad", number, cause: `expected at most ${MAX_LINE_BYTES} bytes, got ${bytes}` };
    }
    try {
      return { kind: "text", number, text: this.#decoder.decode(Buffer.concat(parts)) };
    } catch {
      return { kind: "bad", number, cause: "expected UTF-8, got invalid bytes" };
    }
  }
}
