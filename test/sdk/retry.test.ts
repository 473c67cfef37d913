import assert from "node:assert/strict";
import { test } from "node:test";
import { EpalmApiError, EpalmConnectionError } from "../../src/sdk/client-errors.js";
import { isTransient, retryAfterSeconds, retryWait } from "../../src/sdk/retry.js";

function refusal(status: number, retryAfter?: number): EpalmApiError {
  return new EpalmApiError({ status, code: "overloaded", detail: "no", retryAfter });
}

test("retries transient errors only", () => {
  for (const status of [429, 502, 503, 504]) assert.equal(isTransient(refusal(status)), true, `${status}`);
  for (const status of [400, 401, 404, 408, 413, 415, 422, 499, 500, 501]) {
    assert.equal(isTransient(refusal(status)), false, `${status}`);
  }
  assert.equal(isTransient(new EpalmConnectionError("gone", { isTransient: true })), true);
  assert.equal(isTransient(new EpalmConnectionError("another", { isTransient: false })), false);
  assert.equal(isTransient(new TypeError("a bug")), false);
});

test("doubles the wait up to a bound, with a random half", () => {
  const error = refusal(503);
  assert.deepEqual(
    [0, 1, 2, 3].map((attempt) => retryWait(error, attempt, 1)),
    [250, 500, 1000, 2000],
  );
  assert.equal(retryWait(error, 0, 0), 125);
  assert.equal(retryWait(error, 1000, 1), 10_000);
});

test("waits at least as long as the service demands", () => {
  assert.equal(retryWait(refusal(503, 7), 0, 0), 7000);
  assert.equal(retryWait(refusal(503, 7), 1, 1), 7250);
  // The doubling continues.
  assert.equal(retryWait(refusal(503, 0), 0, 0), 125);
  assert.equal(retryWait(refusal(503, 1), 9, 0), 5000);
});

test("parses Retry-After as seconds or a date and ignores other values", () => {
  const now = Date.UTC(2026, 0, 1, 12, 0, 0);
  const cases: [string | null, number | undefined][] = [
    ["3", 3],
    [" 120 ", 120],
    ["0", 0],
    ["Thu, 01 Jan 2026 12:00:30 GMT", 30],
    ["Thu, 01 Jan 2026 11:00:00 GMT", 0],
    [null, undefined],
    ["", undefined],
    ["soon", undefined],
    ["-1", undefined],
    ["1.5", undefined],
    ["99999999999", undefined],
  ];
  for (const [header, expected] of cases) assert.equal(retryAfterSeconds(header, now), expected, `${header}`);
});
