import { type ChunkReader, chunksOf } from "../core/chunks.js";
import { EventParser, type ServerEvent } from "./event-parser.js";

/** The server-sent events of a body, one by one. */
export class EventReader {
  readonly #chunks: ChunkReader;
  readonly #decoder = new TextDecoder();
  readonly #parser = new EventParser();
  readonly #events: ServerEvent[] = [];

  constructor(body: ReadableStream<Uint8Array>) {
    this.#chunks = chunksOf(body);
  }

  /** The next event; undefined at the end. @throws what reading throws, EpalmConnectionError for an endless event */
  async next(): Promise<ServerEvent | undefined> {
    for (;;) {
      const event = this.#events.shift();
      if (event) return event;
      const { done, value } = await this.#chunks.next();
      if (done) return undefined;
      this.#events.push(...this.#parser.push(this.#decoder.decode(value as Uint8Array, { stream: true })));
    }
  }

  /** Closes the connection, if events may still come. */
  close(): void {
    // A body that failed has nothing left to close, and says so.
    this.#chunks.close().catch(() => undefined);
  }
}
