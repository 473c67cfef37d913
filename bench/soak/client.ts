import { setTimeout as pause } from "node:timers/promises";
import { keys, type Role, type SoakService } from "./service.js";

/** The longest body of an error that is acceptable, in bytes. */
export const MAX_ERROR_BYTES = 64 * 1000;

/** Statuses that ask the client to try again later. */
const REJECTIONS = [429, 503];

/** What happened to the requests of a phase. */
export class Tally {
  readonly statuses = new Map<string, number>();
  /** Latencies of answers in milliseconds, in the order in which they arrived. */
  readonly latencies: number[] = [];
  /** Requests that were told to try again later. */
  rejected = 0;
  /** Statuses of 500 and above without Retry-After, connections that failed, and errors that are too long. */
  readonly faults: string[] = [];
  longestError = 0;

  count(status: string): void {
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
  }

  fault(what: string): void {
    this.faults.push(what);
  }
}

export interface Sent {
  readonly path: string;
  readonly init?: RequestInit;
  readonly role?: Role | undefined;
}

/** Sends a request, reads the whole response and counts it. Returns the status; undefined if the connection failed. */
export async function send(
  service: SoakService,
  tally: Tally,
  { path, init = {}, role }: Sent,
): Promise<number | undefined> {
  const headers = new Headers(init.headers);
  if (role) headers.set("authorization", `Bearer ${keys[role]}`);
  const started = performance.now();
  try {
    const response = await fetch(service.address + path, { ...init, headers });
    const body = await response.arrayBuffer();
    note(tally, response, body.byteLength, performance.now() - started);
    return response.status;
  } catch (error) {
    const isLeft = init.signal?.aborted === true;
    tally.count(isLeft ? "left" : "failed");
    if (!isLeft) tally.fault(`${path}: ${String((error as { cause?: unknown }).cause ?? error)}`);
    return undefined;
  }
}

function note(tally: Tally, { status, headers, url }: Response, bytes: number, milliseconds: number): void {
  tally.count(String(status));
  if (status < 400) {
    tally.latencies.push(milliseconds);
    return;
  }
  tally.longestError = Math.max(tally.longestError, bytes);
  if (bytes > MAX_ERROR_BYTES) tally.fault(`${url}: an error of ${bytes} bytes`);
  const isRejection = REJECTIONS.includes(status) && headers.has("retry-after");
  if (isRejection) tally.rejected++;
  else if (status >= 500) tally.fault(`${url}: status ${status}`);
}

/** A caption of an image, as a form. */
export function captionForm(image: Uint8Array, fields: Readonly<Record<string, string>> = {}): RequestInit {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.set(name, value);
  body.set("image", new Blob([image as Uint8Array<ArrayBuffer>]), "image.png");
  return { method: "POST", body };
}

export function json(body: unknown): RequestInit {
  return { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

/** Interval between two checks of `/healthz`; milliseconds. */
const HEALTH_INTERVAL = 100;

/** Runs `work` while `/healthz` is checked. Returns the longest response time in milliseconds. */
export async function watchingHealth(service: SoakService, tally: Tally, work: () => Promise<void>): Promise<number> {
  let longest = 0;
  const end = new AbortController();
  const checks = (async () => {
    while (!end.signal.aborted) {
      const started = performance.now();
      const status = await send(service, tally, { path: "/healthz" });
      longest = Math.max(longest, performance.now() - started);
      if (status !== 200) tally.fault(`/healthz: status ${status}`);
      await pause(HEALTH_INTERVAL);
    }
  })();
  try {
    await work();
  } finally {
    end.abort();
    await checks;
  }
  return longest;
}
