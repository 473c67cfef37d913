import { randomStreams } from "../../src/core/random.js";
import { pictures } from "../serve.js";
import type { Table } from "../table.js";
import { captionForm, json, type Sent, send, Tally } from "./client.js";
import { keys, type Role, type SoakService } from "./service.js";

const CLIENTS = 32;
/** Requests between two measurements of the memory. */
const BETWEEN = 1000;
/** The memory may grow at first, while caches are filled and threads reach their working size. */
const SETTLED = 1 / 3;

/** Limits of the resident memory of the service and its child processes, in bytes. */
export const MAX_GROWTH = 64e6;
export const MAX_RESIDENT = 1e9;

type Kind = (image: Uint8Array, random: () => number) => Sent | "dropped stream";

const base64 = (image: Uint8Array) => Buffer.from(image).toString("base64");
const short = { beams: 1, max_tokens: 5 };

/** Kinds of requests with their shares. */
const kinds: readonly (readonly [number, Kind])[] = [
  [20, (image) => ({ path: "/caption", init: captionForm(image, { beams: "1", max_tokens: "5" }) })],
  [10, (image) => ({ path: "/vqa", init: json({ image: base64(image), question: "what is it?", ...short }) })],
  [5, (image) => ({ path: "/vqa", init: json({ image: base64(image), question: ["what?", "where?"], ...short }) })],
  [
    5,
    (image) => ({ path: "/vqa", init: json({ image: base64(image), question: "what?", candidates: ["cat", "dog"] }) }),
  ],
  [5, (image) => ({ path: "/caption", init: json({ image: base64(image), stream: true, ...short }) })],
  [10, () => "dropped stream"],
  [
    10,
    (image, random) => ({
      path: "/caption",
      init: { ...captionForm(image), signal: AbortSignal.timeout(Math.ceil(30 * random())) },
    }),
  ],
  [5, (image) => ({ path: "/caption", init: json({ image: base64(image), no_such_field: 1 }) })],
  [2, (image) => ({ path: "/caption", init: json({ image: base64(image), ["k".repeat(100_000)]: 1 }) })],
  [5, () => ({ path: "/caption", init: { ...json({}), body: '{"image": ' } })],
  [5, (image) => ({ path: "/caption", init: captionForm(image.subarray(0, image.length / 2)) })],
  [5, () => ({ path: "/caption", init: captionForm(new Uint8Array(2000)) })],
  [
    5,
    (image) => ({
      path: "/vqa",
      init: json({ image: base64(image), question: Array(16).fill("?"), beams: 16, max_tokens: 999 }),
    }),
  ],
  [3, () => ({ path: `/no-such-path?${"q".repeat(1000)}` })],
  [3, () => ({ path: "/caption", init: { method: "DELETE" } })],
  [2, () => ({ path: "/metrics" })],
];
const total = kinds.reduce((sum, [share]) => sum + share, 0);

/** Sends mixed requests, many of which are invalid or are abandoned, and measures the memory. */
export async function mixed(
  service: SoakService,
  requests: number,
  say: (what: string) => void,
): Promise<{ readonly table: Table; readonly faults: readonly string[] }> {
  const [random = Math.random] = randomStreams(1, 1);
  const [known, fresh] = [pictures(1), pictures(Number.POSITIVE_INFINITY)];
  const tally = new Tally();
  const memory: number[] = [service.residentBytes()];
  let sent = 0;
  const client = async () => {
    while (sent < requests) {
      sent++;
      if (sent % Math.min(BETWEEN, Math.ceil(requests / 3)) === 0) {
        memory.push(service.residentBytes());
        say(`mixed: ${sent} requests, ${megabytes(memory.at(-1) ?? 0)} MB`);
      }
      const image = await (random() < 0.8 ? known() : fresh());
      const role: Role = random() < 0.5 ? "heavy" : "other";
      const made = chosen(random)(image, random);
      if (made === "dropped stream") await dropStream(service, tally, image, role);
      else await send(service, tally, { ...made, role });
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  memory.push(service.residentBytes());
  return { table: tableOf(requests, tally, memory), faults: [...tally.faults, ...memoryFaults(memory)] };
}

function chosen(random: () => number): Kind {
  let at = random() * total;
  for (const [share, kind] of kinds) {
    at -= share;
    if (at < 0) return kind;
  }
  return () => ({ path: "/readyz" });
}

/** Reads the first piece of a stream and disconnects. */
async function dropStream(service: SoakService, tally: Tally, image: Uint8Array, role: Role): Promise<void> {
  const leaving = new AbortController();
  const init = json({ image: base64(image), stream: true, beams: 1, max_tokens: 100, min_tokens: 100 });
  const headers = { ...init.headers, authorization: `Bearer ${keys[role]}` };
  try {
    const response = await fetch(`${service.address}/caption`, { ...init, headers, signal: leaving.signal });
    await response.body?.getReader().read();
    tally.count(response.ok ? "stream dropped" : String(response.status));
  } catch {
    tally.fault("/caption: a stream failed before it was dropped");
  } finally {
    leaving.abort();
  }
}

function growthOf(memory: readonly number[]): number {
  const settled = memory[Math.ceil(SETTLED * (memory.length - 1))] ?? 0;
  return (memory.at(-1) ?? 0) - settled;
}

function memoryFaults(memory: readonly number[]): string[] {
  const faults: string[] = [];
  if (growthOf(memory) > MAX_GROWTH) faults.push(`memory grew by ${megabytes(growthOf(memory))} MB`);
  if (Math.max(...memory) > MAX_RESIDENT) faults.push(`${megabytes(Math.max(...memory))} MB of memory`);
  return faults;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}

function tableOf(requests: number, tally: Tally, memory: readonly number[]): Table {
  const statuses = Array.from(tally.statuses).sort(([a], [b]) => a.localeCompare(b));
  const rows = [
    ...statuses.map(([status, count]) => ({
      what: /^\d/.test(status) ? `status ${status}` : status,
      value: `${count}`,
    })),
    { what: "longest error", value: `${tally.longestError} bytes` },
    { what: "memory at the start", value: `${megabytes(memory[0] ?? 0)} MB` },
    { what: "highest memory", value: `${megabytes(Math.max(...memory))} MB` },
    { what: "growth over the last two thirds", value: `${megabytes(growthOf(memory))} MB` },
  ];
  return {
    title: `mixed: ${requests} requests of ${CLIENTS} clients, with errors, aborted requests and dropped streams`,
    columns: [
      { key: "what", title: "" },
      { key: "value", title: "" },
    ],
    rows,
    notes: ["memory: resident, with child processes; on Linux only"],
  };
}
