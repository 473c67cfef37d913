import { spawn } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Device, devices } from "../src/core/device.js";
import type { Precision } from "../src/core/precision.js";
import { deviceProblem, type OpenProbe, requirementOf } from "../src/runtime/device.js";
import { SessionThread } from "../src/runtime/session-thread.js";
import { PROMPT_TOKENS } from "./greedy-run.js";
import type { Measurement } from "./measurement.js";
import type { Table } from "./table.js";

/** The whole measurement ends within eight minutes; this leaves time to build graphs and to print. */
const ALL_MILLISECONDS = 7.5 * 60_000;

/** One precision on one device. */
export interface DeviceJob {
  readonly device: Device;
  readonly precision: Precision;
  /** Folder for graphs, which all jobs share. */
  readonly folder: string;
}

type Row = Record<string, number | string>;

export const device: Measurement = {
  summary: "the CPU and every other device that works here: prefill, steps, an image, a training step (8 minutes)",
  async run({ folder, say }) {
    const started = performance.now();
    const { jobs, missing } = await jobsHere(join(folder, "device"));
    const rows: Row[] = [];
    for (const [index, job] of jobs.entries()) {
      say(`measuring: ${job.precision} on ${job.device}`);
      const left = ALL_MILLISECONDS - (performance.now() - started);
      rows.push(await measure(job, left / (jobs.length - index)));
    }
    rmSync(join(folder, "device"), { recursive: true });
    return [table(rows, missing)];
  },
};

/** What can be measured on this machine, and why other devices cannot. */
async function jobsHere(folder: string): Promise<{ jobs: DeviceJob[]; missing: string[] }> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const thread = new SessionThread();
  const open: OpenProbe = (model, options) => thread.open(model, options);
  const jobs: DeviceJob[] = [];
  const missing: string[] = [];
  for (const one of devices) {
    const problem = await deviceProblem(one, open);
    if (problem !== undefined) {
      missing.push(`${one}: not run (${problem}); it requires ${requirementOf(one)}`);
      continue;
    }
    const fp16 = one === "cpu" ? undefined : await deviceProblem(one, open, "fp16");
    if (fp16 !== undefined) missing.push(`${one}: fp16 and int4-fp16 not run (${fp16})`);
    const others: readonly Precision[] =
      one === "cpu" ? ["int8"] : ["int4-fp32", ...(fp16 === undefined ? (["fp16", "int4-fp16"] as const) : [])];
    for (const precision of ["fp32", ...others] as const) jobs.push({ device: one, precision, folder });
  }
  await thread.close();
  return { jobs, missing };
}

/** The results of a job, also of one that ends early. */
async function measure(job: DeviceJob, milliseconds: number): Promise<Row> {
  const row: Row = { device: job.device, precision: job.precision };
  const script = fileURLToPath(new URL("./device-costs.worker.js", import.meta.url));
  const child = spawn(process.execPath, [script, JSON.stringify(job)], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: Math.max(1, Math.round(milliseconds)),
    killSignal: "SIGKILL",
  });
  let message = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    message = `${message}${text}`.slice(-500);
  });
  const ended = new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.once("close", (code, signal) => resolve([code, signal]));
  });
  for await (const line of createInterface({ input: child.stdout })) Object.assign(row, JSON.parse(line));
  const [code, signal] = await ended;
  if (signal === "SIGKILL") row.end = `stopped after ${Math.round(milliseconds / 1000)} s`;
  else if (code !== 0) row.end = `ended with ${signal ?? code}: ${message.trim().split("\n").at(-1) ?? ""}`;
  return row;
}

function table(rows: readonly Row[], missing: readonly string[]): Table {
  return {
    title: `device: opt-125m and ViT-B/16 with random weights, ${PROMPT_TOKENS} prompt tokens`,
    columns: [
      { key: "device", title: "device" },
      { key: "precision", title: "precision" },
      { key: "prefillMs", title: "prefill ms", digits: 1 },
      { key: "step1Ms", title: "step ms, 1", digits: 2 },
      { key: "step8Ms", title: "batch 8", digits: 2 },
      { key: "step16Ms", title: "batch 16", digits: 2 },
      { key: "imageMs", title: "image ms", digits: 1 },
      { key: "trainingMs", title: "training ms", digits: 0 },
      { key: "toDeviceKb", title: "to ONNX Runtime, kB", digits: 0 },
      { key: "fromDeviceKb", title: "from it, kB", digits: 0 },
      { key: "onCpu", title: "nodes on the CPU" },
      { key: "end", title: "" },
    ],
    rows,
    notes: [
      "medians; training: loss, gradients and AdamW of an adapter, 16 x 24 tokens, in fp32",
      "kB: inputs and outputs of the last step at batch 8, with the cache unless it is on the device; nodes: of the decoder, from the profile",
      ...missing,
    ],
  };
}
