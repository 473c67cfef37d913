import { EpalmConnectionError } from "./client-errors.js";

/** One server-sent event. */
export interface ServerEvent {
  readonly name: string;
  readonly data: string;
}

/** In UTF-16 units. The longest event is an answer of 16 texts of 4096 tokens with log-probabilities, about 8 MB. */
const MAX_EVENT_LENGTH = 32 * 1024 * 1024;

/** Parses server-sent events (WHATWG HTML standard) from pieces of text; ids and retry times are ignored. */
export class EventParser {
  #rest = "";
  #name = "";
  #data: string[] = [];
  #length = 0;

  /** The events that this piece completes. @throws EpalmConnectionError for an event that is too long */
  push(piece: string): ServerEvent[] {
    const text = this.#rest + piece;
    // The next piece may begin with the line feed of this carriage return.
    const end = text.endsWith("\r") ? text.length - 1 : text.length;
    const lines = text.slice(0, end).split(/\r\n|\n|\r/);
    this.#rest = (lines.pop() ?? "") + text.slice(end);
    const events = lines.flatMap((line) => this.#line(line) ?? []);
    if (this.#rest.length + this.#length > MAX_EVENT_LENGTH) {
      const message = `stream: expected events of at most ${MAX_EVENT_LENGTH} characters`;
      throw new EpalmConnectionError(message, { isTransient: false });
    }
    return events;
  }

  #line(line: string): ServerEvent | undefined {
    if (line === "") return this.#finish();
    const [, field = line, value = ""] = /^([^:]*): ?(.*)$/s.exec(line) ?? [];
    if (field === "event") this.#name = value;
    if (field === "data") {
      this.#data.push(value);
      this.#length += value.length;
    }
    return undefined;
  }

  #finish(): ServerEvent | undefined {
    const event = { name: this.#name || "message", data: this.#data.join("\n") };
    const isEvent = this.#data.length > 0;
    this.#name = "";
    this.#data = [];
    this.#length = 0;
    return isEvent ? event : undefined;
  }
}
