import { EpalmError, messageOf } from "../core/errors.js";
import { isRecord, noAnswer } from "./answer.js";
import type { CallClock } from "./call-clock.js";
import { EpalmConnectionError, isProblem, parseJson, problemError, refusalError } from "./client-errors.js";
import type { ClientSettings } from "./client-settings.js";
import type { ServerEvent } from "./event-parser.js";
import { EventReader } from "./event-reader.js";
import type { Form } from "./form.js";
import { isTransient, retryAfterSeconds, retryWait } from "./retry.js";

/** One request, as often as it is sent. */
export interface WireRequest {
  /** Begins with a slash. */
  readonly path: string;
  /** Absent: a GET. */
  readonly form?: Form | undefined;
  /** Default: the client's. */
  readonly retries?: number | undefined;
}

/** A stream whose first event came. */
interface OpenStream {
  readonly first: ServerEvent;
  readonly events: EventReader;
}

/** Sends requests, again where that helps, and takes answers apart; what they mean is not its concern. */
export class Transport {
  readonly #settings: ClientSettings;

  constructor(settings: ClientSettings) {
    this.#settings = settings;
  }

  /** The JSON of an answer. @throws EpalmApiError, EpalmConnectionError, EpalmTimeoutError, aborted */
  json(request: WireRequest, clock: CallClock): Promise<unknown> {
    return this.#repeat(request, clock, async () => {
      const response = await this.#send(request, clock, "application/json");
      const json = parseJson(await response.text());
      if (json === undefined) throw noAnswer();
      return json;
    });
  }

  /**
   * The data of the events `text`; returns that of the event `answer`.
   *
   * @throws what `json` throws
   */
  async *stream(request: WireRequest, clock: CallClock): AsyncGenerator<unknown, unknown, undefined> {
    // Nothing was given to the caller before the first event: until then it can be asked for again.
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
      // A problem is one of the request, which may then be sent again.
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
      // A key and a medium go where the program said, and nowhere else.
      redirect: "manual",
    });
    if (response.ok) return response;
    // Browsers hide where a redirect leads, and its status.
    if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) {
      const message = "the service's address redirects; give its final address as baseUrl";
      throw new EpalmConnectionError(message, { isTransient: false });
    }
    const retryAfter = retryAfterSeconds(response.headers.get("retry-after"), Date.now());
    const requestId = response.headers.get("x-request-id") ?? undefined;
    throw refusalError(response.status, await response.text(), requestId, retryAfter);
  }

  /** Attempts until one succeeds, fails for good, or the next would come too late. */
  async #repeat<T>(request: WireRequest, clock: CallClock, attempt: () => Promise<T>): Promise<T> {
    const retries = request.retries ?? this.#settings.retries;
    for (let repeated = 0; ; repeated++) {
      try {
        // Raced, because a fetch that was given to the client may know nothing of signals.
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

/** @throws EpalmApiError if the event is a problem */
function dataOf({ name, data }: ServerEvent): unknown {
  const json = parseJson(data);
  if (!isRecord(json)) throw noAnswer();
  if (name === "problem") throw isProblem(json) ? problemError(json) : noAnswer();
  return json;
}

function brokenOff(): EpalmConnectionError {
  return new EpalmConnectionError("the stream ended before its answer", { isTransient: true });
}

/** What fetch and reading a body throw, which is a TypeError that says little; its cause says more where there is one. */
function asClientError(error: unknown): EpalmError {
  if (error instanceof EpalmError) return error;
  const cause = error instanceof Error && error.cause !== undefined ? ` (${messageOf(error.cause)})` : "";
  return new EpalmConnectionError(`connection: ${messageOf(error)}${cause}`, {
    cause: error,
    isTransient: true,
  });
}
