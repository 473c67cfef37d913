import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { z } from "zod";
import { median } from "../src/cli/measure/median.js";
import type { Context, Measurement } from "./measurement.js";
import { type DecoderName, injectionOf, modelFolder } from "./models.js";
import { PYTHON_VARIABLE } from "./python-peer.js";
import type { Table } from "./table.js";

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

/** A step of a federated client, which runs on one thread. */
export interface FederatedSettings {
  readonly batch: number;
  /** Blocks of the encoder that the client holds. */
  readonly blocks: number;
  readonly threads: number;
  readonly warmups: number;
  readonly rounds: number;
}

/** Examples and tokens of a step. */
export const trainingStep = { batch: 16, tokens: 24 } as const;

const stepCost = z.strictObject({
  /** Durations of whole steps in milliseconds. */
  steps: z.array(z.number()),
  /** Processor time of all threads in them, which other programs on the machine change less. */
  processor: z.array(z.number()),
  /** The part of them inside ONNX Runtime, in milliseconds. */
  runs: z.array(z.number()).optional(),
  peakBytes: z.number(),
});
export type StepCost = z.infer<typeof stepCost>;

const columns: Table["columns"] = [
  { key: "what", title: "" },
  { key: "who", title: "" },
  { key: "step", title: "step, ms", digits: 0 },
  { key: "processor", title: "processor, ms", digits: 0 },
  { key: "runtime", title: "ONNX Runtime, ms", digits: 0 },
  { key: "peak", title: "peak, MB", digits: 0 },
  { key: "speed", title: "speed over torch", digits: 2, better: "higher" },
  { key: "memory", title: "memory over torch", digits: 2, better: "lower" },
];

export const training: Measurement = {
  summary: `a step of an adapter (opt-125m) and of a federated client, beside torch if ${PYTHON_VARIABLE} names a Python with it`,
  async run(context) {
    const rounds = context.rounds ?? ROUNDS;
    const settings = stepSettings(context, "opt", rounds);
    const federated: FederatedSettings = { batch: 8, blocks: 1, threads: 1, warmups: 2, rounds };
    const path = await modelFolder(context, "opt", "fp32");
    context.say(`measuring: training, ${rounds} steps`);
    const adapterRows = await rowsBeside(context, "adapter", () => trainingCost(context, path, settings), [
      "training_step.py",
      settings,
    ]);
    const clientRows = await rowsBeside(
      context,
      "federated client",
      () => cost(process.execPath, [worker("fedmae-step"), JSON.stringify(federated)]),
      ["fedmae_step.py", federated],
    );
    return [
      {
        title: `training: loss, gradients, AdamW in fp32; medians of ${rounds} steps, each side in its own process`,
        columns,
        rows: [...adapterRows, ...clientRows],
        notes: [
          `adapter: opt-125m, ${settings.batch} x ${settings.tokens} tokens, K = ${settings.states}, ${settings.threads} threads`,
          `federated client: ${federated.blocks} block of ViT-B/16 and a decoder of one block, ${federated.batch} images, 1 thread`,
        ],
      },
    ];
  },
};

const worker = (name: string) => fileURLToPath(new URL(`./${name}.worker.js`, import.meta.url));

/** The rows of epalm and, if there is a Python, of torch. */
async function rowsBeside(
  { say }: Context,
  what: string,
  measureOurs: () => Promise<StepCost>,
  [script, settings]: readonly [script: string, settings: object],
): Promise<Table["rows"][number][]> {
  const ours = await measureOurs();
  const python = process.env[PYTHON_VARIABLE];
  if (python === undefined) say(`training: torch is skipped, because ${PYTHON_VARIABLE} is not set`);
  const theirs = python && (await cost(python, [join("bench", script), JSON.stringify(settings)]));
  const row = (who: string, { steps, processor, runs, peakBytes }: StepCost) => ({
    what,
    who,
    step: median(steps),
    processor: median(processor),
    ...(runs ? { runtime: median(runs) } : {}),
    peak: peakBytes / 1e6,
  });
  if (!theirs) return [row("epalm", ours)];
  const ratios = {
    speed: median(theirs.steps) / median(ours.steps),
    memory: ours.peakBytes / theirs.peakBytes,
  };
  return [{ ...row("epalm", ours), ...ratios }, row("torch", theirs)];
}

function stepSettings({ machine }: Context, name: DecoderName, rounds: number): StepSettings {
  const { injectedStates: states, startLayer: start, endLayer: end } = injectionOf(name);
  return { ...trainingStep, states, start, end, threads: machine.cores, warmups: 2, rounds };
}

/** The cost of steps in a process of their own. */
function trainingCost({ folder }: Context, path: string, settings: StepSettings): Promise<StepCost> {
  const work = join(folder, "training-graph");
  mkdirSync(work, { recursive: true });
  return cost(process.execPath, [worker("training-step"), path, work, JSON.stringify(settings)]);
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
