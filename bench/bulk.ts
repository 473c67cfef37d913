import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { EpalmError } from "../src/core/errors.js";
import { randomStreams } from "../src/core/random.js";
import { BUNDLED_MODEL } from "../src/model/bundled-model.js";
import { openModelFolder } from "../src/model/model-folder.js";
import { type Feeds, openSession, type Session } from "../src/runtime/session.js";
import { elementCount } from "../src/tensor/tensor.js";
import { ClockedSession, runGreedy } from "./greedy-run.js";
import type { Context, Measurement } from "./measurement.js";
import { type ProcessUsage, usageOf } from "./process-usage.js";
import { SoakService } from "./soak/service.js";
import type { Table } from "./table.js";

/** Images per run, by default. */
const FILES = 10_000;
/** Times that each way is measured, in turn, because the machine's speed changes over minutes. */
const ROUNDS = 2;
/** Concurrent clients of the service; each sends its next request as soon as it receives an answer. */
const CLIENTS = 16;
/** Sequences per step of the bare loop. */
const BATCH = 16;
const NEW_TOKENS = 16;
const [WIDTH, HEIGHT] = [160, 120];
/** Points of the memory curve. */
const POINTS = 10;
const SAMPLE_MS = 250;

const flags = ["--beams", "1", "--max-tokens", String(NEW_TOKENS), "--min-tokens", String(NEW_TOKENS)];

/** A way to caption all files. */
interface Run {
  readonly seconds: number;
  readonly processorSeconds: number;
}

/** The use of a process after some of the files. */
interface Sample extends ProcessUsage {
  readonly files: number;
}

export const bulk: Measurement = {
  summary: "captions of many small images: command line, service and a bare loop; EPALM_BENCH_FILES images",
  async run(context) {
    const count = Number(process.env.EPALM_BENCH_FILES ?? FILES);
    const folder = await images(context, count);
    const ways = { "command line": commandLine, service, "bare loop": bareLoop } as const;
    const runs = new Map<string, Run[]>(Object.keys(ways).map((name) => [name, []]));
    const curve: Sample[] = [];
    const { rounds = ROUNDS } = context;
    for (let round = 0; round < rounds; round++) {
      for (const [name, way] of Object.entries(ways)) {
        context.say(`measuring: bulk, ${name}, ${count} images, round ${round + 1} of ${rounds}`);
        runs.get(name)?.push(await way({ context, folder, count, curve: round === 0 ? curve : [] }));
      }
    }
    return [speeds(runs, count), memory(curve)];
  },
};

interface Work {
  readonly context: Context;
  readonly folder: string;
  readonly count: number;
  /** Receives samples of the memory of the command line. */
  readonly curve: Sample[];
}

function nameOf(at: number): string {
  return `${String(at).padStart(6, "0")}.jpg`;
}

/** A folder with images that differ in colours and shapes, which is kept. */
async function images({ folder, say }: Context, count: number): Promise<string> {
  const path = join(folder, `bulk-${count}`);
  if (existsSync(path)) return path;
  say(`drawing: ${count} images`);
  const part = `${path}.part`;
  rmSync(part, { recursive: true, force: true });
  mkdirSync(part);
  const [random = Math.random] = randomStreams(0, 1);
  for (let at = 0; at < count; at++) {
    const pixels = Uint8Array.from({ length: 8 * 6 * 3 }, () => 256 * random());
    const image = sharp(pixels, { raw: { width: 8, height: 6, channels: 3 } }).resize(WIDTH, HEIGHT, { fit: "fill" });
    await image.jpeg().toFile(join(part, nameOf(at)));
  }
  renameSync(part, path);
  return path;
}

async function commandLine({ context, folder, count, curve }: Work): Promise<Run> {
  const output = join(context.folder, "bulk.jsonl");
  rmSync(output, { force: true });
  const main = fileURLToPath(new URL("../src/cli/main.js", import.meta.url));
  const started = performance.now();
  const child = spawn(process.execPath, [main, "caption", ".", "--output", output, ...flags], {
    cwd: folder,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const lines = lineCounter(output);
  const timer = setInterval(() => curve.push({ files: lines(), ...usageOf(child.pid) }), SAMPLE_MS);
  const [code] = await once(child, "exit");
  clearInterval(timer);
  const seconds = (performance.now() - started) / 1000;
  const written = lines();
  if (code !== 0 || written !== count) {
    throw new EpalmError("internal", `epalm caption: expected ${count} lines, got ${written} and exit code ${code}`);
  }
  return { seconds, processorSeconds: curve.at(-1)?.processorSeconds ?? 0 };
}

/** Returns a function that counts the lines of a file that grows. */
function lineCounter(path: string): () => number {
  const buffer = Buffer.alloc(1 << 20);
  let [lines, position] = [0, 0];
  return () => {
    if (!existsSync(path)) return 0;
    const descriptor = openSync(path, "r");
    for (let read = -1; read !== 0; position += read) {
      read = readSync(descriptor, buffer, 0, buffer.length, position);
      for (let at = 0; at < read; at++) if (buffer[at] === 10) lines++;
    }
    closeSync(descriptor);
    return lines;
  };
}

async function service({ context, folder, count }: Work): Promise<Run> {
  const running = new SoakService(context.folder, { models: { bundled: BUNDLED_MODEL }, keys: {} });
  await running.start();
  try {
    const before = running.usage().processorSeconds;
    const started = performance.now();
    let next = 0;
    const client = async () => {
      for (let at = next++; at < count; at = next++) await ask(running.address, join(folder, nameOf(at)));
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
    const seconds = (performance.now() - started) / 1000;
    return { seconds, processorSeconds: running.usage().processorSeconds - before };
  } finally {
    await running.stop();
  }
}

async function ask(address: string, path: string): Promise<void> {
  const query = `beams=1&max_tokens=${NEW_TOKENS}&min_tokens=${NEW_TOKENS}`;
  const headers = { "content-type": "image/jpeg" };
  const response = await fetch(`${address}/caption?${query}`, { method: "POST", body: readFileSync(path), headers });
  const text = await response.text();
  if (!response.ok) throw new EpalmError("internal", `the service answered ${response.status}: ${text}`);
}

/** The runs of the encoder, and of the decoder for batches of texts of the same length, and nothing else. */
async function bareLoop({ count }: Work): Promise<Run> {
  const { manifest, path } = await openModelFolder(BUNDLED_MODEL, { checksums: false });
  const encoder = await openSession(join(path, manifest.encoder.graph));
  const decoder = new RecordingSession(await openSession(join(path, manifest.decoder.graph)));
  const shape = [1, ...manifest.encoder.inputShape];
  const pixels: Feeds = { pixels: { type: "float32", shape, data: new Float32Array(elementCount(shape)).fill(0.5) } };
  try {
    await runGreedy(new ClockedSession(decoder), manifest.decoder.shape, { newTokens: NEW_TOKENS, batch: BATCH });
    const [cpu, started] = [process.cpuUsage(), performance.now()];
    for (let done = 0; done < count; done += BATCH) {
      for (let at = done; at < Math.min(count, done + BATCH); at++) await encoder.run(pixels, ["cls_states"]);
      for (const { feeds, fetches } of decoder.runs) await decoder.session.run(feeds, fetches);
    }
    const { user, system } = process.cpuUsage(cpu);
    return { seconds: (performance.now() - started) / 1000, processorSeconds: (user + system) / 1e6 };
  } finally {
    await encoder.close();
    await decoder.close();
  }
}

/** A session that keeps what it computes, so that the same can be computed again without the code around it. */
class RecordingSession implements Session {
  readonly session: Session;
  readonly runs: { readonly feeds: Feeds; readonly fetches: readonly string[] }[] = [];

  constructor(session: Session) {
    this.session = session;
  }

  get inputNames(): readonly string[] {
    return this.session.inputNames;
  }

  get outputNames(): readonly string[] {
    return this.session.outputNames;
  }

  run(feeds: Feeds, fetches: readonly string[]) {
    // The cache is written after each step, but its values do not affect the time.
    this.runs.push({ feeds, fetches });
    return this.session.run(feeds, fetches);
  }

  close(): Promise<void> {
    return this.session.close();
  }
}

function speeds(runs: ReadonlyMap<string, readonly Run[]>, count: number): Table {
  const fastest = (name: string) => Math.min(...(runs.get(name) ?? []).map(({ seconds }) => seconds));
  const cheapest = (name: string) => Math.min(...(runs.get(name) ?? []).map((run) => run.processorSeconds));
  return {
    title: `bulk: captions of ${NEW_TOKENS} tokens by the bundled model, ${count} JPEGs of ${WIDTH} x ${HEIGHT}`,
    columns: [
      { key: "name", title: "" },
      { key: "perSecond", title: "files/s", digits: 1 },
      { key: "ratio", title: "over service", digits: 2 },
      { key: "processor", title: "processor s per 1000 files", digits: 2 },
    ],
    rows: Array.from(runs.keys(), (name) => ({
      name,
      perSecond: count / fastest(name),
      ratio: fastest("service") / fastest(name),
      processor: (1000 * cheapest(name)) / count,
    })),
    notes: [
      `the best of the runs in turn (--rounds, ${ROUNDS} by default); the command line includes its start, the service ${CLIENTS} clients in another process`,
      `bare loop: encoder graph for each image, decoder graph for ${BATCH} texts at a time; no reading, decoding, adapter or sampling`,
    ],
  };
}

function memory(curve: readonly Sample[]): Table {
  const busy = curve.filter(({ files }) => files > 0);
  const at = (point: number) => busy[Math.round(((busy.length - 1) * point) / (POINTS - 1))];
  return {
    title: "bulk: memory of the command line and its processes",
    columns: [
      { key: "files", title: "files" },
      { key: "megabytes", title: "resident, MB" },
    ],
    rows: Array.from({ length: POINTS }, (_, point) => at(point)).flatMap((sample) =>
      sample ? [{ files: sample.files, megabytes: sample.residentBytes / 1e6 }] : [],
    ),
  };
}
