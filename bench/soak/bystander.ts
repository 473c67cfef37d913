import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { pictures } from "../serve.js";
import type { Table } from "../table.js";
import { captionForm, json, quantile, type Sent, send, Tally } from "./client.js";
import type { Role, SoakService } from "./service.js";

/** Requests of the bystander per measurement, one at a time. */
const REQUESTS = 100;
/** Time between two requests of the bystander, and until its first one; milliseconds. */
const BETWEEN = 20;
const WARM_UP = 2000;

/** The bystander's p99 may grow to this multiple of what it is alone, or to this many milliseconds. */
const MAX_RATIO = 5;
const GENERATION_BOUND = 250;
const MEDIA_BOUND = 1000;

/** What other clients send at the same time, in a loop per connection. */
interface Disturbance {
  readonly name: string;
  readonly connections: number;
  readonly isMedia?: boolean;
  readonly request: (index: number) => Promise<Sent>;
}

/** Measures the latency of one client's captions while other clients send the most expensive permitted requests. */
export async function bystander(
  service: SoakService,
  samples: { readonly audio: string; readonly video: string },
  say: (what: string) => void,
): Promise<{ readonly table: Table; readonly faults: readonly string[] }> {
  say("bystander: alone");
  await measure(service);
  const alone = await measure(service);
  const rows: Table["rows"][number][] = [{ beside: "nothing", p50: alone.p50, p99: alone.p99 }];
  const faults = [...alone.faults];
  for (const disturbance of await disturbances(samples)) {
    say(`bystander: ${disturbance.name}`);
    const { p50, p99, faults: found, others } = await beside(service, disturbance);
    const bound = disturbance.isMedia ? MEDIA_BOUND : Math.max(MAX_RATIO * alone.p99, GENERATION_BOUND);
    rows.push({ beside: disturbance.name, p50, p99, bound, others });
    faults.push(...found);
    if (p99 > bound) faults.push(`bystander, ${disturbance.name}: p99 ${p99.toFixed(0)} ms, bound ${bound.toFixed(0)}`);
  }
  const table: Table = {
    title: "bystander: captions of a known image, 3 beams, up to 30 tokens, one at a time",
    columns: [
      { key: "beside", title: "alongside" },
      { key: "p50", title: "p50, ms" },
      { key: "p99", title: "p99, ms" },
      { key: "bound", title: "bound, ms" },
      { key: "others", title: "others answered" },
    ],
    rows,
    notes: [`${REQUESTS} requests each; the clients run on the same cores`],
  };
  return { table, faults };
}

async function disturbances(samples: { readonly audio: string; readonly video: string }): Promise<Disturbance[]> {
  const image = await pictures(1)();
  const base64 = Buffer.from(image).toString("base64");
  const questions = Array.from({ length: 16 }, (_, index) => `what is number ${index}`);
  const role = (index: number): Role => (index % 2 ? "other" : "heavy");
  const vqa = (fields: object) => async (index: number) => ({
    path: "/vqa",
    init: json({ image: base64, question: questions, ...fields }),
    role: role(index),
  });
  const fresh = pictures(Number.POSITIVE_INFINITY);
  const candidates = Array.from({ length: 40 }, (_, index) => `a candidate ${index}`);
  const searches = vqa({ beams: 16, max_tokens: 60, min_tokens: 60 });
  const [audio, video] = [readFileSync(samples.audio), readFileSync(samples.video)];
  return [
    { name: "4 × 16 questions × 16 beams × 60 tokens", connections: 4, request: searches },
    {
      name: "16 × 16 questions × 60 tokens",
      connections: 16,
      request: vqa({ beams: 1, max_tokens: 60, min_tokens: 60 }),
    },
    { name: "8 × 16 questions × 40 candidates", connections: 8, request: vqa({ candidates }) },
    {
      name: "a mix of these and long samples",
      connections: 12,
      request: async (index) => {
        const others = [
          searches,
          vqa({ candidates }),
          async () => ({
            path: "/caption",
            init: json({ image: base64, n: 16, temperature: 1, max_tokens: 200, min_tokens: 200 }),
            role: role(index),
          }),
        ];
        return (others[index % others.length] ?? searches)(index);
      },
    },
    {
      name: "32 × captions of new images",
      connections: 32,
      request: async (index) => ({ path: "/caption", init: captionForm(await fresh()), role: role(index) }),
    },
    {
      name: "8 × audio and video",
      connections: 8,
      isMedia: true,
      request: async (index) => {
        const body = new FormData();
        body.set(index % 4 < 2 ? "audio" : "video", new Blob([index % 4 < 2 ? audio : unique(video)]), "medium");
        return { path: "/caption", init: { method: "POST", body }, role: role(index) };
      },
    },
  ];
}

let made = 0;

/** The same MP4 file with another `free` box at its end, so that its states are not cached. */
function unique(video: Uint8Array): Uint8Array<ArrayBuffer> {
  const box = Buffer.alloc(16);
  box.writeUInt32BE(box.length);
  box.write("free", 4, "latin1");
  box.writeUInt32BE(made++, 8);
  return new Uint8Array(Buffer.concat([video, box]));
}

async function beside(service: SoakService, { connections, request }: Disturbance) {
  const end = new AbortController();
  const others = new Tally();
  const loops = Array.from({ length: connections }, async (_, index) => {
    while (!end.signal.aborted) {
      const { init, ...sent } = await request(index);
      const status = await send(service, others, { ...sent, init: { ...init, signal: end.signal } });
      if (status !== 200) await pause(BETWEEN);
    }
  });
  await pause(WARM_UP);
  const measured = await measure(service);
  end.abort();
  await Promise.all(loops);
  return { ...measured, faults: [...measured.faults, ...others.faults], others: others.latencies.length };
}

async function measure(service: SoakService) {
  const image = await pictures(1)();
  const tally = new Tally();
  for (let at = 0; at < REQUESTS; at++) {
    await send(service, tally, { path: "/caption", init: captionForm(image), role: "bystander" });
    await pause(BETWEEN);
  }
  if (tally.latencies.length < REQUESTS)
    tally.fault(`bystander: ${REQUESTS - tally.latencies.length} were not answered`);
  return { p50: quantile(tally.latencies, 0.5), p99: quantile(tally.latencies, 0.99), faults: tally.faults };
}
