import { abortError } from "../core/abort.js";
import { EpalmError, messageOf } from "../core/errors.js";
import { TransientFailure, withRetries } from "../core/retry.js";

const DEFAULT_ENDPOINT = "https://huggingface.co";
const DEFAULT_RETRY_DELAY_MS = 500;
/** The hub redirects once, to its storage; more redirects than a few indicate a loop. */
const MAX_REDIRECTS = 5;
/** A page lists a thousand files with about 300 bytes each; the limit is a hundred times as much. */
const MAX_JSON_BYTES = 32 * 1024 * 1024;

const REDIRECT_STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export interface HubClientOptions {
  /** Address of the hub. Default: `https://huggingface.co`. */
  readonly endpoint?: string | undefined;
  /** Sent to the endpoint only, never to the target of a redirect. Default: none. */
  readonly token?: string | undefined;
  /** Default: Node's own `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined;
  /** Cancels the download. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds before the first retry of a failed request. Default: 500. */
  readonly retryDelayMs?: number | undefined;
}

export interface JsonPage {
  readonly body: unknown;
  /** Address of the next page of a long list; undefined for the last page. */
  readonly next: URL | undefined;
}

/** GET requests to a hub, with authorization, redirects, retries and specific errors. */
export class HubClient {
  readonly #endpoint: URL;
  readonly #token: string | undefined;
  readonly #fetch: typeof globalThis.fetch;
  readonly #signal: AbortSignal | undefined;
  readonly #delayMs: number;

  /** @throws `invalid_option` for an endpoint or a token that cannot be used */
  constructor(options: HubClientOptions) {
    this.#endpoint = parseEndpoint(options.endpoint ?? DEFAULT_ENDPOINT);
    this.#token = options.token;
    this.#fetch = options.fetch ?? globalThis.fetch;
    this.#signal = options.signal;
    this.#delayMs = options.retryDelayMs ?? DEFAULT_RETRY_DELAY_MS;
    // `fetch` would reject such a header too, but its message would contain the token.
    if (this.#token !== undefined && !/^[\x21-\x7e]+$/.test(this.#token)) {
      throw new EpalmError("invalid_option", "the hub token is empty or contains characters that a token cannot have");
    }
  }

  /** The address of a path whose parts are already percent-encoded, such as `api/models/gpt2`. */
  url(path: string): URL {
    return new URL(path, this.#endpoint);
  }

  /** Repeats an action while it fails with `TransientFailure`. */
  retrying<T>(action: () => Promise<T>): Promise<T> {
    return withRetries(action, { delayMs: this.#delayMs, signal: this.#signal });
  }

  /** Requests a JSON document of bounded size; `subject` names it in messages. */
  json(url: URL, subject: string): Promise<JsonPage> {
    return this.retrying(async () => {
      const response = await this.get(url, subject);
      const chunks: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of this.body(response, subject)) {
        size += chunk.length;
        if (size > MAX_JSON_BYTES)
          throw failed(`${subject}: expected a response of at most ${MAX_JSON_BYTES} bytes, got more`);
        chunks.push(chunk);
      }
      return { body: parseJson(Buffer.concat(chunks), subject), next: this.#nextPage(response) };
    });
  }

  /**
   * Sends one request and follows redirects. Responses with status 200, 206 or 416 are returned.
   *
   * @throws `TransientFailure`, `not_found` or `download_failed` for all others
   */
  async get(url: URL, subject: string, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
    let target = url;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      const response = await this.#request(target, subject, headers);
      const location = response.headers.get("location");
      if (!REDIRECT_STATUSES.has(response.status) || location === null) {
        await this.#checkStatus(response, subject);
        return response;
      }
      await response.body?.cancel();
      if (!URL.canParse(location, target.href)) throw failed(`${subject}: redirected to an invalid address`);
      target = new URL(location, target);
    }
    throw failed(`${subject}: redirected more than ${MAX_REDIRECTS} times`);
  }

  /** The chunks of a response. A broken connection throws `TransientFailure`. */
  async *body(response: Response, subject: string): AsyncGenerator<Uint8Array> {
    if (!response.body) return;
    try {
      for await (const chunk of response.body) yield chunk;
    } catch (error) {
      throw this.#networkError(error, subject);
    }
  }

  async #request(url: URL, subject: string, headers: Readonly<Record<string, string>>): Promise<Response> {
    const authorized = this.#token !== undefined && url.origin === this.#endpoint.origin;
    try {
      return await this.#fetch(url, {
        // Redirects are followed here, so that the token is sent only to the endpoint, whatever `fetch` is used.
        redirect: "manual",
        headers: { ...headers, ...(authorized ? { authorization: `Bearer ${this.#token}` } : {}) },
        signal: this.#signal ?? null,
      });
    } catch (error) {
      throw this.#networkError(error, subject);
    }
  }

  #networkError(error: unknown, subject: string): EpalmError {
    if (this.#signal?.aborted) return abortError(this.#signal, "the download");
    // Node's message is only "fetch failed"; the reason is in the cause.
    const reason = error instanceof Error && error.cause ? error.cause : error;
    return new TransientFailure(`${subject}: ${messageOf(reason)}`);
  }

  async #checkStatus(response: Response, subject: string): Promise<void> {
    const { status } = response;
    if (status === 200 || status === 206 || status === 416) return;
    await response.body?.cancel();
    if (status === 429 || status >= 500) {
      throw new TransientFailure(`${subject}: the hub answered ${status}`, retryAfterMs(response));
    }
    if (status === 401 || status === 403) {
      const hint = this.#token === undefined ? "provide a token that has access" : "the token has no access";
      throw failed(`${subject}: access denied (${status}); it is private, gated, or does not exist: ${hint}`);
    }
    if (status === 404) throw new EpalmError("not_found", `${subject}: the hub has no such model, revision or file`);
    throw failed(`${subject}: the hub answered ${status}`);
  }

  /** Parses `Link: <address>; rel="next"`. A page outside the endpoint is not followed. */
  #nextPage(response: Response): URL | undefined {
    const address = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get("link") ?? "")?.[1];
    if (!address || !URL.canParse(address, this.#endpoint.href)) return undefined;
    const url = new URL(address, this.#endpoint);
    return url.origin === this.#endpoint.origin ? url : undefined;
  }
}

function parseEndpoint(endpoint: string): URL {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "") {
    throw new EpalmError("invalid_option", "hub endpoint: expected an http(s) address without credentials");
  }
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url;
}

function parseJson(bytes: Buffer, subject: string): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    throw failed(`${subject}: the hub's answer is not JSON`);
  }
}

/** Parses `Retry-After` in seconds; the hub does not send dates. */
function retryAfterMs(response: Response): number | undefined {
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
}

function failed(message: string): EpalmError {
  return new EpalmError("download_failed", message);
}
