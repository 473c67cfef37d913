import { execFile } from "node:child_process";
import { statfsSync } from "node:fs";
import { freemem } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { exponentOf } from "./exponent.js";
import type { Context, Measurement } from "./measurement.js";
import { type DecoderName, decoderTitle, modelFolder } from "./models.js";
import type { ScalingCost, ScalingTask } from "./scaling-task.js";
import type { Table } from "./table.js";

const ROUNDS = 5;
/** A size of model is skipped if building and measuring it would take longer, judged by the one before. */
const MINUTES = 20;
const REQUESTS = 200;
const MB = 1e6;

type Work = ScalingTask extends infer Task ? (Task extends ScalingTask ? Omit<Task, "path" | "rounds"> : never) : never;

/** What grows, and how time should grow with it. */
interface Series {
  readonly what: string;
  readonly theory: string;
  readonly values: readonly number[];
  readonly work: (value: number) => Work;
}

/** All with ViT-B/16 + opt-125m in int8. */
const series: readonly Series[] = [
  {
    what: "prefill, tokens of the prompt",
    theory: "at most 2: layers are linear, attention is quadratic",
    values: [25, 100, 400, 1600],
    work: (promptTokens) => ({ kind: "prefill", promptTokens }),
  },
  {
    what: "a step, texts in the batch",
    theory: "0 to 1: weights are read once for all",
    values: [1, 4, 16, 64],
    work: (batch) => ({ kind: "step", batch }),
  },
  {
    what: `${REQUESTS} captions at once, adapters`,
    theory: "0: all adapters share a batch",
    values: [1, 10, 50, 200],
    work: (adapters) => ({ kind: "adapters", adapters, requests: REQUESTS }),
  },
  {
    what: "encoding, images of a request",
    theory: "1",
    values: [1, 2, 4, 8],
    work: (images) => ({ kind: "images", images }),
  },
];

/** Parameters of language models of OPT's form, in int4. */
const sizes: readonly (readonly [name: DecoderName, parameters: number])[] = [
  ["opt", 125e6],
  ["opt350m", 355e6],
  ["opt1300m", 1316e6],
  ["opt2700m", 2652e6],
];

export const scaling: Measurement = {
  summary: "time and memory against prompt, batch, adapters, images and size of the model, with exponents",
  async run(context) {
    const rounds = context.rounds ?? ROUNDS;
    const rows: Row[] = [];
    const path = await modelFolder(context, "opt", "int8");
    for (const { what, theory, values, work } of series) {
      const points: Point[] = [];
      for (const value of values) {
        context.say(`measuring: scaling, ${what}: ${value}`);
        points.push([value, await costOf({ ...work(value), path, rounds })]);
      }
      rows.push(...rowsOf({ what, theory, memory: "added" }, points));
    }
    const points = await sizePoints(context, rounds);
    const what = "a token of a model in int4, parameters in millions";
    rows.push(...rowsOf({ what, theory: "1: all weights are read", memory: "peak" }, points));
    return [{ title: `scaling: medians of ${rounds}, each row in its own process`, columns, rows, notes }];
  },
};

async function sizePoints(context: Context, rounds: number): Promise<Point[]> {
  const points: Point[] = [];
  let secondsPerParameter = 0;
  for (const [name, parameters] of sizes) {
    const reason = whyNot(context, parameters, secondsPerParameter * parameters);
    if (reason !== undefined) {
      context.say(`scaling: ${decoderTitle(name)} is skipped: ${reason}`);
      continue;
    }
    const started = performance.now();
    const path = await modelFolder(context, name, "int4");
    context.say(`measuring: scaling, ${decoderTitle(name)}`);
    points.push([parameters / 1e6, await costOf({ kind: "step", batch: 1, path, rounds })]);
    secondsPerParameter = (performance.now() - started) / 1000 / parameters;
  }
  return points;
}

/** Why a model of this size cannot be measured here; undefined if it can. */
function whyNot({ folder, minutes = MINUTES }: Context, parameters: number, seconds: number): string | undefined {
  // The checkpoint has 2 bytes per parameter above and 4 below 1 billion; the model has about 0.6.
  const [memory, disk] = [1e9 + parameters, (parameters < 1e9 ? 4.6 : 2.6) * parameters];
  const { bavail, bsize } = statfsSync(folder);
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  if (freemem() < memory) return `it needs about ${gigabytes(memory)} of memory, and ${gigabytes(freemem())} is free`;
  if (bavail * bsize < disk)
    return `it needs ${gigabytes(disk)} of disk space, and ${gigabytes(bavail * bsize)} is free`;
  if (seconds > 60 * minutes) return `it would take about ${(seconds / 60).toFixed(0)} minutes, more than ${minutes}`;
  return undefined;
}

async function costOf(task: ScalingTask): Promise<ScalingCost> {
  const entry = fileURLToPath(new URL("./scaling.worker.js", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [entry, JSON.stringify(task)]);
  return JSON.parse(stdout) as ScalingCost;
}

type Row = Table["rows"][number];
type Point = readonly [value: number, cost: ScalingCost];

/** The last row of a series has its exponents. */
function rowsOf(
  { what, theory, memory }: Pick<Series, "what" | "theory"> & { readonly memory: "added" | "peak" },
  points: readonly Point[],
): Row[] {
  const bytesOf = ({ openBytes, peakBytes }: ScalingCost) => (memory === "peak" ? peakBytes : peakBytes - openBytes);
  const exponents = {
    timeExponent: exponentOf(points.map(([value, { milliseconds }]) => [value, milliseconds])),
    memoryExponent: exponentOf(points.map(([value, cost]) => [value, bytesOf(cost)])),
    theory,
  };
  return points.map(([value, cost], index) => ({
    ...{ what, value, milliseconds: cost.milliseconds },
    peak: cost.peakBytes / MB,
    added: (cost.peakBytes - cost.openBytes) / MB,
    ...(points.length > 1 && index === points.length - 1 ? exponents : {}),
  }));
}

const columns: Table["columns"] = [
  { key: "what", title: "" },
  { key: "value", title: "n" },
  { key: "milliseconds", title: "ms", digits: 1 },
  { key: "peak", title: "peak, MB" },
  { key: "added", title: "since opening, MB" },
  { key: "timeExponent", title: "time ~ n^", digits: 2 },
  { key: "memoryExponent", title: "memory ~ n^", digits: 2 },
  { key: "theory", title: "theory for time" },
];

const notes = [
  "ViT-B/16 + opt-125m in int8, except for the sizes of models; random weights",
  "memory ~ n^: of the memory since opening; for sizes, of the peak",
];
