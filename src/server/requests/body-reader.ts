import { EpalmError } from "../../core/errors.js";
import { Thread, type ThreadHealth } from "../../runtime/thread.js";
import { FieldError } from "../http/problem.js";
import { type BodyOutcome, type JsonBodies, readJsonBody } from "./json-body.js";

/** The input of the thread. */
export interface ReadBody {
  readonly kind: keyof JsonBodies;
  readonly bytes: Uint8Array;
  readonly maxBytes: number;
}

/** Bodies up to this size are parsed directly, in less than a millisecond. An image in base64 takes 10 ms per MB. */
const BYTES_AT_ONCE = 64 * 1024;

/** Parses JSON bodies. Large ones are parsed in a thread, because their base64 would block the event loop. */
export class BodyReader {
  readonly #thread = new Thread(new URL("./body-reader.worker.js", import.meta.url), {
    name: "bodies",
    restore: async () => undefined,
  });

  get health(): ThreadHealth {
    return this.#thread;
  }

  /**
   * See `readJsonBody`.
   *
   * @param body a Buffer with its own memory, which is transferred to the thread; anything else is an invalid body
   */
  async read<Kind extends keyof JsonBodies>(kind: Kind, body: unknown, maxBytes: number): Promise<JsonBodies[Kind]> {
    if (!Buffer.isBuffer(body)) {
      throw new EpalmError("invalid_option", "body: expected a JSON object or a multipart form");
    }
    if (body.length <= BYTES_AT_ONCE) return readJsonBody(kind, body, maxBytes);
    const payload: ReadBody = { kind, bytes: body, maxBytes };
    const transfer = [body.buffer as ArrayBuffer];
    const outcome = (await this.#thread.call("read", payload, { transfer })) as BodyOutcome<Kind>;
    if (outcome.kind === "read") return outcome.body;
    const { code, field, message } = outcome;
    throw field === undefined ? new EpalmError(code, message) : new FieldError(code, field, message);
  }

  close(): Promise<void> {
    return this.#thread.close();
  }
}
