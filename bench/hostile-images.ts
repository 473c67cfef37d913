import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { EpalmError } from "../src/core/errors.js";
import { sampleMedium } from "../src/media/sample-medium.js";
import type { Measurement } from "./measurement.js";

const MAIN = fileURLToPath(new URL("../src/cli/main.js", import.meta.url));

/** Milliseconds between two samples of the memory, and between two images of the bystander. */
const [MEMORY_INTERVAL, BYSTANDER_INTERVAL] = [50, 300];

interface Load {
  readonly name: string;
  readonly images: readonly Buffer[];
}

export const hostileImages: Measurement = {
  summary: "memory of the service and a bystander's latency while SVGs that were made to be expensive arrive (Linux)",
  async run({ say }) {
    const rows = [];
    for (const load of await loads()) {
      say(`measuring: hostile images, ${load.name}`);
      rows.push(await measure(load));
    }
    return [
      {
        title: "hostile images: the bundled model in a service, and another client's images meanwhile",
        columns: [
          { key: "load", title: "load" },
          { key: "statuses", title: "statuses" },
          { key: "seconds", title: "s", digits: 1 },
          { key: "idle", title: "MB before" },
          { key: "peak", title: "MB peak" },
          { key: "after", title: "MB after" },
          { key: "usual", title: "bystander ms, alone" },
          { key: "slowest", title: "bystander ms, slowest" },
        ],
        rows,
        notes: ["MB: resident memory of the service and all its child processes, with shared pages counted in each"],
      },
    ];
  },
};

/** The inputs that once took gigabytes and minutes, and a photograph for comparison. */
async function loads(): Promise<Load[]> {
  const svg = (content: string) =>
    Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="320" height="320">${content}</svg>`);
  const rectangles = (count: number) => svg('<rect width="9" height="9"/>'.repeat(count));
  const levels = Array.from({ length: 12 }, (_, level) => {
    return `<g id="a${level + 1}">${`<use href="#a${level}"/>`.repeat(10)}</g>`;
  });
  const nested = svg(`<defs><rect id="a0" width="9" height="9"/>${levels.join("")}</defs><use href="#a6"/>`);
  // References in a style sheet are not counted, so that librsvg starts on these.
  const blur = '<filter id="f"><feTurbulence baseFrequency="0.1" numOctaves="100"/></filter>';
  const styled = svg(`<style>rect{filter:url(#f)}</style>${blur}${'<rect width="320" height="320"/>'.repeat(5000)}`);
  return [
    { name: "8 photographs", images: Array<Buffer>(8).fill(await sampleMedium("image")) },
    { name: "11 SVGs of 2.8 MB", images: Array<Buffer>(11).fill(rectangles(100_000)) },
    { name: "1 SVG of 14 MB", images: [rectangles(500_000)] },
    { name: "11 SVGs of 20,000 elements", images: Array<Buffer>(11).fill(rectangles(19_990)) },
    { name: "8 SVGs with nested <use>", images: Array<Buffer>(8).fill(nested) },
    { name: "8 SVGs with slow filters", images: Array<Buffer>(8).fill(styled) },
  ];
}

async function measure({ name, images }: Load) {
  const service = spawn(process.execPath, [MAIN, "serve", "--port", "0"], { stdio: ["ignore", "ignore", "pipe"] });
  try {
    const url = await addressOf(service);
    const photo = await sampleMedium("image", 1);
    for (let round = 0; round < 3; round++) await caption(url, photo);
    const usual = (await caption(url, await sampleMedium("image", 2))).milliseconds;
    const idle = residentMegabytes(service.pid);
    let peak = idle;
    const watch = setInterval(() => {
      peak = Math.max(peak, residentMegabytes(service.pid));
    }, MEMORY_INTERVAL);
    const started = performance.now();
    let isRunning = true;
    const bystander = (async () => {
      let slowest = 0;
      for (let seed = 3; isRunning; seed++) {
        slowest = Math.max(slowest, (await caption(url, await sampleMedium("image", seed))).milliseconds);
        await pause(BYSTANDER_INTERVAL);
      }
      return slowest;
    })();
    const statuses = await Promise.all(images.map(async (image) => (await caption(url, image)).status));
    const seconds = (performance.now() - started) / 1000;
    isRunning = false;
    const slowest = await bystander;
    clearInterval(watch);
    const summary = [...new Set(statuses)]
      .map((status) => `${statuses.filter((one) => one === status).length} x ${status}`)
      .join(", ");
    const after = residentMegabytes(service.pid);
    return { load: name, statuses: summary, seconds, idle, peak, after, usual, slowest };
  } finally {
    service.kill("SIGTERM");
  }
}

async function addressOf(service: ChildProcess): Promise<string> {
  if (!service.stderr) throw new EpalmError("internal", "the service has no standard error");
  for await (const line of createInterface(service.stderr)) {
    const [, url] = /serving .* at (http\S+)/.exec(line) ?? [];
    if (url !== undefined) return url;
  }
  throw new EpalmError("internal", "the service did not start");
}

async function caption(url: string, image: Buffer): Promise<{ status: number; milliseconds: number }> {
  const body = new FormData();
  body.append("image", new Blob([new Uint8Array(image)]), "image");
  body.append("max_tokens", "4");
  const started = performance.now();
  const response = await fetch(`${url}/caption`, { method: "POST", body });
  await response.arrayBuffer();
  return { status: response.status, milliseconds: performance.now() - started };
}

/** Resident memory of a process and its descendants. */
function residentMegabytes(root: number | undefined): number {
  const processes = readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const status = readFileSync(`/proc/${name}/status`, "latin1");
      const field = (key: string) => Number(new RegExp(`^${key}:\\s*(\\d+)`, "m").exec(status)?.[1] ?? 0);
      return [{ id: Number(name), parent: field("PPid"), kilobytes: field("VmRSS") }];
    } catch {
      // It has ended in the meantime.
      return [];
    }
  });
  const family = new Set([root]);
  for (let size = 0; size < family.size; ) {
    size = family.size;
    for (const { id, parent } of processes) if (family.has(parent)) family.add(id);
  }
  return processes.filter(({ id }) => family.has(id)).reduce((sum, { kilobytes }) => sum + kilobytes, 0) / 1000;
}
