import { EpalmError, messageOf } from "../core/errors.js";
import { isRecord, noAnswer } from "./answer.js";
import type { CallClock } from "./call-clock.js";
import { EpalmConnectionError, isProblem, parseJson, problemError, refusalError } from "./client-errors.js";
import type { ClientSettings } from "./client-settings.js";
import type { ServerEvent } from "./event-parser.js";
import { EventReader } from "./event-reader.js";
import type { Form } from "./form.js";
import { isTransient, retryAfterSeconds, retryWait } from "./retry.js";

/** One request, which may be sent several times. */
export interface WireRequest {
  /** Begins with a slash. */
  readonly path: string;
  /** Absent for a GET request. */
  readonly form?: Form | undefined;
  /** Default: the setting of the client. */
  readonly retries?: number | undefined;
}

/** A stream whose first event has arrived. */
interface OpenStream {
  readonly first: ServerEvent;
  readonly events: EventReader;
}

/** Sends requests, retries them after transient errors, and parses responses without interpreting them. */
export class Transport {
  readonly #settings: ClientSettings;

  constructor(settings: ClientSettings) {
    this.#settings = settings;
  }

  /** The JSON of a response. @throws EpalmApiError, EpalmConnectionError, EpalmTimeoutError, AbortError */
  json(request: WireRequest, clock: CallClock): Promise<unknown> {
    return this.#repeat(request, clock, async () => {
      const response = await this.#send(request, clock, "application/json");
      const json = parseJson(await response.text());
      if (json === undefined) throw noAnswer();
      return json;
    });
  }

  /**
   * Yields the data of the `text` events and returns the data of the `answer` event.
   *
   * @throws the same errors as `json`
   */
  async *stream(request: WireRequest, clock: CallClock): AsyncGenerator<unknown, unknown, undefined> {
    // The caller has received nothing before the first event, so the request can be repeated until then.
    const { first, events } = await this.#repeat(request, clock, () => this.#open(request, clock));
    try {
      for (let event: ServerEvent | undefined = first; event; event = await clock.race(events.next())) {
        const data = dataOf(event);
        if (event.name === "answer") return data;
        if (event.name === "text") yield data;
      }
      throw brokenOff();
    } catch (error) {
      throw clock.reason ?? asClientError(error);
    } finally {
      events.close();
    }
  }

  async #open(request: WireRequest, clock: CallClock): Promise<OpenStream> {
    const response = await this.#send(request, clock, "text/event-stream");
    const isEvents = /^text\/event-stream\b/i.test(response.headers.get("content-type") ?? "");
    if (!isEvents || !response.body) throw noAnswer();
    const events = new EventReader(response.body);
    try {
      const first = await events.next();
      if (!first) throw brokenOff();
      // A problem as the first event is an error of the request, which may then be sent again.
      dataOf(first);
      return { first, events };
    } catch (error) {
      events.close();
      throw error;
    }
  }

  async #send({ path, form }: WireRequest, clock: CallClock, accept: string): Promise<Response> {
    const { baseUrl, headers } = this.#settings;
    const response = await this.#settings.fetch(baseUrl + path, {
      method: form ? "POST" : "GET",
      headers: { accept, ...headers, ...(form ? { "content-type": form.contentType } : {}) },
      body: form?.body ?? null,
      signal: clock.signal,
      // The key and the medium must not be sent to any other address.
      redirect: "manual",
    });
    if (response.ok) return response;
    // Browsers hide the target and the status of a redirect.
    if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) {
      const message = "the service redirects to another address; pass the final address as baseUrl";
      throw new EpalmConnectionError(message, { isTransient: false });
    }
    const retryAfter = retryAfterSeconds(response.headers.get("retry-after"), Date.now());
    const requestId = response.headers.get("x-request-id") ?? undefined;
    throw refusalError(response.status, await response.text(), requestId, retryAfter);
  }

  /** Repeats the attempt until it succeeds, fails permanently, or would exceed the timeout. */
  async #repeat<T>(request: WireRequest, clock: CallClock, attempt: () => Promise<T>): Promise<T> {
    const retries = request.retries ?? this.#settings.retries;
    for (let repeated = 0; ; repeated++) {
      try {
        // A custom `fetch` may ignore the signal.
        return await clock.race(attempt());
      } catch (thrown) {
        if (clock.reason) throw clock.reason;
        const error = asClientError(thrown);
        if (!isTransient(error) || repeated >= retries) throw error;
        const wait = retryWait(error, repeated, Math.random());
        if (wait >= clock.remaining) throw error;
        await clock.pause(wait);
      }
    }
  }
}

/** The data of an event. @throws EpalmApiError if the event is a problem */
function dataOf({ name, data }: ServerEvent): unknown {
  const json = parseJson(data);
  if (!isRecord(json)) throw noAnswer();
  if (name === "problem") throw isProblem(json) ? problemError(json) : noAnswer();
  return json;
}

function brokenOff(): EpalmConnectionError {
  return new EpalmConnectionError("the stream ended before the answer was complete", { isTransient: true });
}

/** Converts the TypeErrors of fetch and of body streams; their cause, if there is one, has the useful message. */
function asClientError(error: unknown): EpalmError {
  if (error instanceof EpalmError) return error;
  const cause = error instanceof Error && error.cause !== undefined ? ` (${messageOf(error.cause)})` : "";
  return new EpalmConnectionError(`connection: ${messageOf(error)}${cause}`, {
    cause: error,
    isTransient: true,
  });
}
