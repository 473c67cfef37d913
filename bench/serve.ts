import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { EpalmError } from "../src/core/errors.js";
import { randomStreams } from "../src/core/random.js";
import { encodePng } from "../src/media/decode/image/encode-png.js";
import type { Context, Measurement } from "./measurement.js";
import { modelFolder } from "./models.js";
import type { Table } from "./table.js";

/** Numbers of concurrent clients; each sends its next request as soon as it receives an answer. */
const CLIENTS = [1, 16, 64];
const NEW_TOKENS = 16;
/** A measurement ends after this many requests and milliseconds: enough for a 99th percentile in reasonable time. */
const leastRequests = (clients: number) => Math.max(32, 2 * clients);
const LEAST_MILLISECONDS = 10_000;

/** Images are small, because decoding them is not what is measured. */
const SIDE = 224;

/** Images are repeated, so that their states are cached, or are all new. */
const workloads = [
  { name: "repeated images", distinct: 1 },
  { name: "new images", distinct: Number.POSITIVE_INFINITY },
] as const;

/** The service with its defaults, and with one request at a time. */
const servers = {
  batching: {},
  "batching off": { queue: { running: 1, waiting: 1000 }, encoderBatch: 1 },
} as const;
type ServerName = keyof typeof servers;

interface Load {
  readonly perSecond: number;
  /** Latencies in milliseconds, sorted. */
  readonly latencies: readonly number[];
  /** Latencies of `GET /healthz` under this load, in milliseconds, sorted. */
  readonly health: readonly number[];
}

export const serve: Measurement = {
  summary: "throughput and latency of the service under load, with and without batching",
  async run(context) {
    const path = await modelFolder(context, "opt", "int8");
    const tables: Table[] = [];
    for (const workload of workloads) {
      const loads = new Map<ServerName, Map<number, Load>>();
      for (const name of Object.keys(servers) as ServerName[]) {
        loads.set(name, await measureServer(context, path, name, workload.distinct));
      }
      tables.push(tableOf(workload.name, loads));
    }
    return tables;
  },
};

async function measureServer(
  { folder, say }: Context,
  path: string,
  name: ServerName,
  distinct: number,
): Promise<Map<number, Load>> {
  const config = join(folder, "serve.json");
  const settings = { models: { opt: path }, port: 0, logLevel: "warn", ...servers[name] };
  writeFileSync(config, JSON.stringify(settings));
  const entry = fileURLToPath(new URL("../src/cli/main.js", import.meta.url));
  const started = performance.now();
  const server = spawn(process.execPath, [entry, "serve", "--config", config], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  try {
    const address = await listening(server);
    const picture = pictures(distinct);
    await ask(address, await picture());
    say(
      `measured: serve, ${name}, the first answer ${((performance.now() - started) / 1000).toFixed(1)} s after the start`,
    );
    const loads = new Map<number, Load>();
    for (const clients of CLIENTS) {
      say(`measuring: serve, ${name}, ${clients} clients`);
      loads.set(clients, await underLoad(address, clients, picture));
    }
    return loads;
  } finally {
    server.kill("SIGTERM");
    if (server.exitCode === null) await once(server, "exit");
  }
}

/** Waits for the address that the service prints on standard error when its models are loaded. */
async function listening(server: ChildProcess): Promise<string> {
  for await (const chunk of server.stderr ?? []) {
    const [address] = /http:\/\/[\d.:]+/.exec(String(chunk)) ?? [];
    if (address !== undefined) return address;
  }
  throw new EpalmError("internal", "the service exited before it was listening");
}

/** Returns a function that makes uniform images; after `distinct` calls, it repeats the first. */
export function pictures(distinct: number): () => Promise<Uint8Array> {
  const [random = Math.random] = randomStreams(0, 1);
  const known: Uint8Array[] = [];
  return async () => {
    if (known.length >= distinct) return known[0] as Uint8Array;
    const color = [random(), random(), random()];
    const pixels = Uint8Array.from({ length: SIDE * SIDE * 3 }, (_, i) => 256 * (color[i % 3] ?? 0));
    const png = await encodePng(pixels, SIDE, SIDE);
    known.push(png);
    return png;
  };
}

async function underLoad(address: string, clients: number, picture: () => Promise<Uint8Array>): Promise<Load> {
  const prepared = await Promise.all(Array.from({ length: leastRequests(clients) }, picture));
  const latencies: number[] = [];
  const started = performance.now();
  const next = async () => prepared.pop() ?? (performance.now() < started + LEAST_MILLISECONDS ? picture() : undefined);
  const client = async () => {
    for (let png = await next(); png !== undefined; png = await next()) {
      const asked = performance.now();
      await ask(address, png);
      latencies.push(performance.now() - asked);
    }
  };
  const checks = new Worker(new URL("./health-checks.worker.js", import.meta.url), { workerData: address });
  try {
    await Promise.all(Array.from({ length: clients }, client));
    const seconds = (performance.now() - started) / 1000;
    checks.postMessage("stop");
    const [health] = (await once(checks, "message")) as [number[]];
    const sorted = (times: number[]) => times.sort((a, b) => a - b);
    return { perSecond: latencies.length / seconds, latencies: sorted(latencies), health: sorted(health) };
  } finally {
    await checks.terminate();
  }
}

async function ask(address: string, png: Uint8Array): Promise<void> {
  const form = new FormData();
  form.set("image", new Blob([png as Uint8Array<ArrayBuffer>]), "picture.png");
  for (const name of ["max_tokens", "min_tokens"]) form.set(name, String(NEW_TOKENS));
  form.set("beams", "1");
  const response = await fetch(`${address}/caption`, { method: "POST", body: form });
  const text = await response.text();
  if (!response.ok) throw new EpalmError("internal", `the service answered ${response.status}: ${text}`);
}

function tableOf(workload: string, loads: ReadonlyMap<ServerName, ReadonlyMap<number, Load>>): Table {
  const quantile = (sorted: readonly number[], share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  const rows = CLIENTS.flatMap((clients) => {
    const off = loads.get("batching off")?.get(clients);
    return Array.from(loads, ([server, measured]) => {
      const load = measured.get(clients);
      if (!load || !off) return [];
      return [
        {
          clients,
          server,
          perSecond: load.perSecond,
          tokensPerSecond: NEW_TOKENS * load.perSecond,
          p50: quantile(load.latencies, 0.5),
          p95: quantile(load.latencies, 0.95),
          p99: quantile(load.latencies, 0.99),
          ratio: load.perSecond / off.perSecond,
          health: quantile(load.health, 0.99),
        },
      ];
    }).flat();
  });
  return {
    title: `serve: captions of ${NEW_TOKENS} tokens, ViT-B/16 + opt-125m, int8, ${workload}`,
    columns: [
      { key: "clients", title: "clients" },
      { key: "server", title: "" },
      { key: "perSecond", title: "captions/s", digits: 1 },
      { key: "tokensPerSecond", title: "tokens/s" },
      { key: "p50", title: "p50, ms" },
      { key: "p95", title: "p95, ms" },
      { key: "p99", title: "p99, ms" },
      { key: "ratio", title: "over batching off", digits: 2 },
      { key: "health", title: "healthz p99, ms", digits: 1 },
    ],
    rows,
    notes: ["batching off: one request at a time; clients run in another process on the same cores"],
  };
}
