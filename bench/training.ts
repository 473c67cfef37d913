import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { z } from "zod";
import { median } from "../src/cli/measure/median.js";
import type { Context, Measurement } from "./measurement.js";
import { type DecoderName, injectionOf, modelFolder } from "./models.js";

/** Path of a Python with torch, for the comparison. */
const PYTHON_VARIABLE = "EPALM_BENCH_PYTHON";

const ROUNDS = 9;

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

/** Examples and tokens of a step. */
export const trainingStep = { batch: 16, tokens: 24 } as const;

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
    const settings = stepSettings(context, "opt", ROUNDS);
    const path = await modelFolder(context, "opt", "fp32");
    const python = process.env[PYTHON_VARIABLE];
    context.say(`measuring: training, ${ROUNDS} steps`);
    const ours = await trainingCost(context, path, settings);
    if (python === undefined) context.say(`training: torch is skipped, because ${PYTHON_VARIABLE} is not set`);
    const peer = join("bench", "training_step.py");
    const theirs = python === undefined ? undefined : await cost(python, [peer, JSON.stringify(settings)]);
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
        notes: [`medians of ${ROUNDS} steps, each side in its own process, ${settings.threads} threads`],
      },
    ];
  },
};

function stepSettings({ machine }: Context, name: DecoderName, rounds: number): StepSettings {
  const { injectedStates: states, startLayer: start, endLayer: end } = injectionOf(name);
  return { ...trainingStep, states, start, end, threads: machine.cores, warmups: 2, rounds };
}

/** The cost of steps in a process of their own. */
function trainingCost({ folder }: Context, path: string, settings: StepSettings): Promise<StepCost> {
  const work = join(folder, "training-graph");
  mkdirSync(work, { recursive: true });
  const entry = fileURLToPath(new URL("./training-step.worker.js", import.meta.url));
  return cost(process.execPath, [entry, path, work, JSON.stringify(settings)]);
}

/** The median duration of a step in milliseconds, and the memory of its process. */
export async function trainingStepCost(
  context: Context,
  name: DecoderName,
  path: string,
  rounds: number,
): Promise<{ readonly milliseconds: number; readonly peakBytes: number }> {
  const { steps, peakBytes } = await trainingCost(context, path, stepSettings(context, name, rounds));
  return { milliseconds: median(steps), peakBytes };
}

async function cost(command: string, args: readonly string[]): Promise<StepCost> {
  const { stdout } = await promisify(execFile)(command, [...args]);
  return stepCost.parse(JSON.parse(stdout));
}
