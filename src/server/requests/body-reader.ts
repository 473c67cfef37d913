import { EpalmError } from "../../core/errors.js";
import { Thread } from "../../runtime/thread.js";
import { FieldError } from "../http/problem.js";
import { type BodyOutcome, type JsonBodies, readJsonBody } from "./json-body.js";

/** What the thread is asked for. */
export interface ReadBody {
  readonly kind: keyof JsonBodies;
  readonly bytes: Uint8Array;
  readonly maxBytes: number;
}

/** Up to here a body is read at once, in less than a millisecond; a picture in base64 takes ten times as long per MB. */
const BYTES_AT_ONCE = 64 * 1024;

/** Reads JSON bodies; large ones in a thread, since their texts and base64 would hold up the event loop. */
export class BodyReader {
  readonly #thread = new Thread(new URL("./body-reader.worker.js", import.meta.url));

  /**
   * See `readJsonBody`.
   *
   * @param body bytes in a buffer of their own, which is handed over; anything else is no body
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
