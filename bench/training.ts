import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { z } from "zod";
import { median } from "../src/cli/measure/median.js";
import type { Measurement } from "./measurement.js";
import { modelFolder } from "./models.js";

/** Path of a Python with torch, for the comparison. */
const PYTHON_VARIABLE = "EPALM_BENCH_PYTHON";

export interface StepSettings {
  readonly batch: number;
  readonly tokens: number;
  /** K, and the range of layers into which the states are injected. */
  readonly states: number;
  readonly start: number;
  readonly end: number;
  readonly threads: number;
  readonly warmups: number;
  readonly rounds: number;
}

const settings = { batch: 16, tokens: 24, states: 6, start: 5, end: 11, warmups: 2, rounds: 9 };

const stepCost = z.strictObject({
  /** Durations of whole steps in milliseconds. */
  steps: z.array(z.number()),
  /** The part of them inside ONNX Runtime, in milliseconds. */
  runs: z.array(z.number()).optional(),
  peakBytes: z.number(),
});
export type StepCost = z.infer<typeof stepCost>;

const columns = [
  { key: "who", title: "" },
  { key: "step", title: "step, ms", digits: 0 },
  { key: "runtime", title: "ONNX Runtime, ms", digits: 0 },
  { key: "peak", title: "peak, MB", digits: 0 },
  { key: "speed", title: "speed over torch", digits: 2 },
  { key: "memory", title: "memory over torch", digits: 2 },
];

export const training: Measurement = {
  summary: `a step of training an adapter, opt-125m shape, compared with torch if ${PYTHON_VARIABLE} names a Python that has it`,
  async run(context) {
    const given: StepSettings = { ...settings, threads: context.machine.cores };
    const path = await modelFolder(context, "opt", "fp32");
    const work = join(context.folder, "training-graph");
    mkdirSync(work, { recursive: true });
    const python = process.env[PYTHON_VARIABLE];
    context.say(`measuring: training, ${settings.rounds} steps`);
    const entry = fileURLToPath(new URL("./training-step.worker.js", import.meta.url));
    const ours = await cost(process.execPath, [entry, path, work, JSON.stringify(given)]);
    if (python === undefined) context.say(`training: torch is skipped, because ${PYTHON_VARIABLE} is not set`);
    const peer = join("bench", "training_step.py");
    const theirs = python === undefined ? undefined : await cost(python, [peer, JSON.stringify(given)]);
    const row = (who: string, { steps, runs, peakBytes }: StepCost) => ({
      who,
      step: median(steps),
      ...(runs ? { runtime: median(runs) } : {}),
      peak: peakBytes / 1e6,
      ...(theirs ? { speed: median(theirs.steps) / median(steps), memory: peakBytes / theirs.peakBytes } : {}),
    });
    return [
      {
        title: `training: loss, gradients, AdamW; ${settings.batch} x ${settings.tokens} tokens, K = ${settings.states}, fp32`,
        columns,
        rows: [row("epalm", ours), ...(theirs ? [row("torch", theirs)] : [])],
        notes: [`medians of ${settings.rounds} steps, each side in its own process, ${given.threads} threads`],
      },
    ];
  },
};

async function cost(command: string, args: readonly string[]): Promise<StepCost> {
  const { stdout } = await promisify(execFile)(command, [...args]);
  return stepCost.parse(JSON.parse(stdout));
}
