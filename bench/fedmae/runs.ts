import { join } from "node:path";
import { trainLocally } from "../../src/fedmae/client.js";
import { maeConfigOf } from "../../src/fedmae/config.js";
import {
  type EncoderFolder,
  type FedMaeConfig,
  fedMaeConfigSchema,
  pretrain,
  readEncoderFolder,
} from "../../src/fedmae.js";
import { initialMae } from "../../src/training/encoder/initial-mae.js";
import { iconClients, type Split } from "./icon-clients.js";

/** Small enough that all runs of a table fit into an hour of one core. */
const model = { imageSize: 48, patchSize: 8, width: 64, heads: 2, decoderWidth: 32, decoderHeads: 2 };
export const DEPTH = 3;
/** Rounds of each run, which `greedy` divides among the blocks: all modes train on equally many images. */
export const ROUNDS = 12;

/** The modes, and variants of them. */
export const modes = {
  parallel: { mode: "parallel" },
  greedy: { mode: "greedy", newBlocks: "random" },
  "greedy, copied blocks": { mode: "greedy", newBlocks: "copy" },
  repeat: { mode: "repeat" },
  full: { mode: "full" },
} as const;
export type Mode = keyof typeof modes;

/** A federated run, by what distinguishes it from the others. */
export interface Run {
  readonly split: Split;
  readonly mode: Mode;
  readonly seed: number;
}

export function configOf(
  output: string,
  clients: FedMaeConfig["clients"],
  { mode, seed }: Omit<Run, "split">,
): FedMaeConfig {
  return fedMaeConfigSchema.parse({
    output,
    clients,
    model,
    ...modes[mode],
    depth: DEPTH,
    rounds: modes[mode].mode === "greedy" ? ROUNDS / DEPTH : ROUNDS,
    localEpochs: 4,
    // Three clients in each round; in mode parallel, one of each block.
    participation: 0.375,
    batchSize: 16,
    optimizer: { learningRate: 2e-3, warmupRounds: 0.5 },
    leastArea: 0.4,
    seed,
    concurrency: 1,
    compare: false,
  });
}

/** The encoder with its initial weights, from which the runs of this seed start. */
export function untrainedEncoder(seed: number): EncoderFolder {
  const config = maeConfigOf(configOf("unused", { path: "unused", count: 1, alpha: 1 }, { mode: "full", seed }), DEPTH);
  return { config, tensors: initialMae(config, seed) };
}

/** Folder of the encoder of a run. A finished run is not repeated, and an interrupted one resumes. */
export async function pretrained(folder: string, run: Run): Promise<string> {
  const clients = await iconClients(folder, run.split, run.seed);
  const name = [run.split, run.mode, run.seed].map((part) => String(part).replaceAll(/[^\w]+/g, "-")).join("_");
  const { encoder } = await pretrain(configOf(join(folder, "runs", name), clients, run), {
    // Starting thousands of processes would take longer than their training.
    async runClient({ task, images }) {
      return { ...(await trainLocally(task, images)), peakBytes: 0, bytesDown: 0, bytesUp: 0 };
    },
  });
  return encoder;
}

export async function pretrainedEncoder(folder: string, run: Run): Promise<EncoderFolder> {
  return readEncoderFolder(await pretrained(folder, run));
}
