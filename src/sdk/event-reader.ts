import { type ChunkReader, chunksOf } from "../core/chunks.js";
import { EventParser, type ServerEvent } from "./event-parser.js";

/** Reads the server-sent events of a response body. */
export class EventReader {
  readonly #chunks: ChunkReader;
  readonly #decoder = new TextDecoder();
  readonly #parser = new EventParser();
  readonly #events: ServerEvent[] = [];

  constructor(body: ReadableStream<Uint8Array>) {
    this.#chunks = chunksOf(body);
  }

  /** The next event; undefined at the end. @throws what reading throws; EpalmConnectionError if an event is too long */
  async next(): Promise<ServerEvent | undefined> {
    for (;;) {
      const event = this.#events.shift();
      if (event) return event;
      const { done, value } = await this.#chunks.next();
      if (done) return undefined;
      this.#events.push(...this.#parser.push(this.#decoder.decode(value as Uint8Array, { stream: true })));
    }
  }

  /** Closes the connection unless the body has ended. */
  close(): void {
    // Closing a body that has failed rejects, and there is nothing left to close.
    this.#chunks.close().catch(() => undefined);
  }
}
