import { EpalmApiError, EpalmConnectionError } from "./client-errors.js";

/**
 * Decides when a request is sent again. Requests do not change any state, so running one twice only costs time.
 * Therefore every transient error is retried: a failed or broken connection, 429, 502, 503 and 504. There are two
 * exceptions. Requests that the service rejected (other 4xx) or failed at (500) would fail again. And once a stream has
 * yielded a piece, nothing is repeated, because sampling would produce a different text.
 */

/** Statuses of transient errors. */
const transientStatuses: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/** Wait before the first retry, without jitter; it doubles with each further retry. Milliseconds. */
const FIRST_WAIT = 250;

/** Upper bound of the doubling. Milliseconds. */
const MAX_WAIT = 10_000;

/** Keeps `2 ** attempt` finite. */
const MAX_DOUBLINGS = 16;

/** Whether sending the same request again may succeed. */
export function isTransient(error: unknown): boolean {
  if (error instanceof EpalmConnectionError) return error.isTransient;
  return error instanceof EpalmApiError && transientStatuses.has(error.status);
}

/**
 * Milliseconds to wait before a request is sent again. The `Retry-After` of the service is a lower bound that does not
 * replace the doubling, so that a service that always sends 0 is not flooded. The random part spreads the retries of
 * clients that were rejected at the same time.
 *
 * @param attempt number of retries so far
 * @param random from 0 to 1
 */
export function retryWait(error: unknown, attempt: number, random: number): number {
  const backOff = Math.min(MAX_WAIT, FIRST_WAIT * 2 ** Math.min(attempt, MAX_DOUBLINGS));
  const jittered = backOff * (0.5 + random / 2);
  const asked = error instanceof EpalmApiError ? error.retryAfter : undefined;
  return asked === undefined ? jittered : Math.max(jittered, asked * 1000 + random * FIRST_WAIT);
}

/**
 * The seconds in a `Retry-After` header, which holds a number of seconds or a date. 0 for a date in the past; undefined
 * if the header is invalid.
 *
 * @param now milliseconds since 1970
 */
export function retryAfterSeconds(header: string | null, now: number): number | undefined {
  const text = header?.trim() ?? "";
  if (/^\d{1,9}$/.test(text)) return Number(text);
  // Some engines parse other strings, such as "-1" or "1.5", as dates.
  const date = /^[A-Za-z]{3,9},/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, (date - now) / 1000);
}
