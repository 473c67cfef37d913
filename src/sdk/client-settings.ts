import { EpalmError } from "../core/errors.js";

/** Options of the constructor of `EpalmClient`. */
export interface ClientOptions {
  /** URL of the service, such as `http://localhost:8080`. A path in it is kept. */
  readonly baseUrl: string | URL;
  /** Sent as a bearer token. Default: none. */
  readonly apiKey?: string | undefined;
  /** Milliseconds per call: reading the medium, all attempts, pauses, a stream to its end. Default: 120 000. */
  readonly timeout?: number | undefined;
  /** How often a request is sent again after a transient error. 0 to 100; default 3. */
  readonly retries?: number | undefined;
  /** Sends the requests. Default: the global `fetch`. */
  readonly fetch?: Fetch | undefined;
}

/** The part of the global `fetch` that the client uses. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Options with defaults filled in. */
export interface ClientSettings {
  /** Without a slash at the end. */
  readonly baseUrl: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeout: number;
  readonly retries: number;
  readonly fetch: Fetch;
}

/** The default limits of a service, 30 s for a request to arrive and 60 s to answer it, and some time for retries. */
const TIMEOUT = 120_000;

/** Timers with a longer delay fire immediately. */
const MAX_TIMEOUT = 2 ** 31 - 1;

const RETRIES = 3;

/** Enough for any useful timeout: 100 retries wait for more than ten minutes. */
const MAX_RETRIES = 100;

const optionNames: ReadonlySet<string> = new Set(["baseUrl", "apiKey", "timeout", "retries", "fetch"]);

/** @throws invalid_option, naming the option */
export function parseClientOptions(options: ClientOptions): ClientSettings {
  const unknown = Object.keys(options).find((name) => !optionNames.has(name));
  if (unknown !== undefined) throw invalid("client options", `only ${[...optionNames].join(", ")}`, unknown);
  const { retries = RETRIES, apiKey } = options;
  if (!Number.isInteger(retries) || retries < 0 || retries > MAX_RETRIES) {
    throw invalid("retries", `an integer from 0 to ${MAX_RETRIES}`, retries);
  }
  return {
    baseUrl: parseBaseUrl(options.baseUrl),
    headers: apiKey === undefined ? {} : { authorization: `Bearer ${parseKey(apiKey)}` },
    timeout: parseTimeout(options.timeout) ?? TIMEOUT,
    retries,
    // Browsers reject a `fetch` that is called as a method of another object. The wrapper also uses later replacements.
    fetch: options.fetch ?? ((url, init) => globalThis.fetch(url, init)),
  };
}

/** @throws invalid_option */
export function parseTimeout(timeout: number | undefined): number | undefined {
  if (timeout === undefined) return undefined;
  if (typeof timeout === "number" && timeout > 0 && timeout <= MAX_TIMEOUT) return timeout;
  throw invalid("timeout", `milliseconds above 0, at most ${MAX_TIMEOUT}`, timeout);
}

function parseBaseUrl(baseUrl: string | URL): string {
  const url = URL.canParse(String(baseUrl)) ? new URL(baseUrl) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) throw invalid("baseUrl", "an http or https URL", baseUrl);
  // The other parts of a URL have no meaning here, and fetch rejects a URL with a password at each call.
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    throw invalid("baseUrl", "a URL without user name, query and fragment", url.host);
  }
  return url.href.replace(/\/+$/, "");
}

/** The message does not contain the key, because messages end up in logs. */
function parseKey(apiKey: string): string {
  if (/^[\x21-\x7e]+$/.test(apiKey)) return apiKey;
  throw new EpalmError("invalid_option", "apiKey: expected ASCII characters without spaces");
}

function invalid(name: string, expected: string, got: unknown): EpalmError {
  return new EpalmError("invalid_option", `${name}: expected ${expected}, got ${String(got)}`);
}
