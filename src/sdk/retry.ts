import { EpalmApiError, EpalmConnectionError } from "./client-errors.js";

/**
 * When a request is sent again. Requests of this service only read: one that ran twice has cost time and nothing else.
 * So whatever may pass is tried again (no connection, a connection that broke, 429, 502, 503, 504), with two bounds.
 * What the service refused for what it is (other 4xx) or failed at (500) will be so again. And once a piece of a stream
 * was given to the caller nothing is repeated, because drawn text would go on as another text.
 */

/** Statuses that pass by themselves. */
const transientStatuses: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/** Before the first repetition, without jitter; each further one waits twice as long. Milliseconds. */
const FIRST_WAIT = 250;

/** However often something failed. Milliseconds. */
const MAX_WAIT = 10_000;

/** `2 ** attempt` stays a number that counts. */
const MAX_DOUBLINGS = 16;

/** Whether the same request may have another outcome. */
export function isTransient(error: unknown): boolean {
  if (error instanceof EpalmConnectionError) return error.isTransient;
  return error instanceof EpalmApiError && transientStatuses.has(error.status);
}

/**
 * Milliseconds to wait before a request is sent again. What the service asked for is the least, and does not end
 * the doubling: one that says "at once" each time is not asked ever faster. The random part keeps clients that were
 * refused together from coming back together.
 *
 * @param attempt how often it was sent again already
 * @param random from 0 to 1
 */
export function retryWait(error: unknown, attempt: number, random: number): number {
  const backOff = Math.min(MAX_WAIT, FIRST_WAIT * 2 ** Math.min(attempt, MAX_DOUBLINGS));
  const jittered = backOff * (0.5 + random / 2);
  const asked = error instanceof EpalmApiError ? error.retryAfter : undefined;
  return asked === undefined ? jittered : Math.max(jittered, asked * 1000 + random * FIRST_WAIT);
}

/**
 * Seconds that a `Retry-After` header needs for, as a number of seconds or a date; undefined if it is neither. A date
 * that is over needs for none.
 *
 * @param now milliseconds since 1970
 */
export function retryAfterSeconds(header: string | null, now: number): number | undefined {
  const text = header?.trim() ?? "";
  if (/^\d{1,9}$/.test(text)) return Number(text);
  // Other texts, such as "-1" or "1.5", are dates to some engines.
  const date = /^[A-Za-z]{3,9},/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, (date - now) / 1000);
}
