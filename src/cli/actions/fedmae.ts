import { writeFileSync } from "node:fs";
import { SingleBar } from "cli-progress";
import type { Pooling } from "../../backbones/backbone.js";
import { EpalmError, unexpected } from "../../core/errors.js";
import {
  type ClientCost,
  cascade,
  type EncoderFolder,
  finetune,
  type LabelledImage,
  linearProbe,
  pretrain,
  readEncoderFolder,
  readFedMaeConfig,
  readLabelledImages,
  reconstruct,
  requireMae,
  resizeEncoder,
  untrained,
  writeEncoderFolder,
} from "../../fedmae.js";
import type { CliContext } from "../context.js";
import { namingFlags } from "../options/naming-flags.js";
import { formatBytes, formatCount, formatShare, formatTable, note, print } from "../output/output.js";
import { noteRetry, noteRound } from "./fedmae-notes.js";

export interface PretrainFlags {
  readonly json?: true;
}

/** `epalm fedmae pretrain` runs federated pre-training from a config file. */
export async function pretrainCommand(path: string, { json }: PretrainFlags, { signal }: CliContext): Promise<void> {
  const result = await pretrain(readFedMaeConfig(path), {
    signal,
    onPlan({ clients, rounds, resumedFrom }) {
      const images = clients.reduce((sum, client) => sum + client.images, 0);
      note(`${formatCount(clients.length)} clients, ${formatCount(images)} images, ${formatCount(rounds)} rounds`);
      if (resumedFrom > 0) note(`resuming after round ${formatCount(resumedFrom)}`);
    },
    onCost: (client, fullDepth) => note(costTable(client, fullDepth)),
    onUnmeasured: (reason) => note(`the cost of a client was not measured: ${reason}`),
    onRetry: noteRetry,
    onRound: noteRound,
  });
  if (json) print(JSON.stringify({ encoder: result.encoder, blocks: result.blocks, report: result.report }));
  else print(`encoder ${result.encoder}\nreport  ${result.report}`);
}

/** Compares the cost of a one-block client with that of a client of full depth. */
function costTable(client: ClientCost, fullDepth: ClientCost): string {
  const ratio = (a: number, b: number) => `${(b / a).toFixed(1)} x`;
  const row = (title: string, of: (cost: ClientCost) => number, format: (value: number) => string) => [
    title,
    format(of(client)),
    format(of(fullDepth)),
    ratio(of(client), of(fullDepth)),
  ];
  return formatTable([
    ["", client.name, fullDepth.name, "ratio"],
    row("blocks", ({ blocks }) => blocks, formatCount),
    row("parameters", ({ parameters }) => parameters, formatCount),
    row("down per round", ({ bytesDown }) => bytesDown, formatBytes),
    row("up per round", ({ bytesUp }) => bytesUp, formatBytes),
    row("peak memory", ({ peakBytes }) => peakBytes, formatBytes),
    row(
      "time per image",
      (cost) => cost.millisecondsPerImage,
      (value) => `${value.toFixed(1)} ms`,
    ),
  ]);
}

/** Like `readEncoderFolder`, with errors that name the flags. */
async function readEncoder(...args: Parameters<typeof readEncoderFolder>): Promise<EncoderFolder> {
  try {
    return await readEncoderFolder(...args);
  } catch (error) {
    throw namingFlags(
      error,
      new Map([
        ["heads", "--heads"],
        ["decoderHeads", "--decoder-heads"],
      ]),
    );
  }
}

export interface CascadeFlags {
  readonly output: string;
  readonly depth?: number;
  readonly heads?: number;
  readonly decoderHeads?: number;
  readonly json?: true;
}

/** `epalm fedmae cascade` stacks checkpoints into one encoder. */
export async function cascadeCommand(
  paths: readonly string[],
  { output, depth, json, ...heads }: CascadeFlags,
): Promise<void> {
  const sources = await Promise.all(paths.map(async (path) => ({ path, ...(await readEncoder(path, heads)) })));
  const encoder = cascaded(sources, depth);
  writeEncoderFolder(output, encoder);
  printEncoder(output, encoder, json, "");
}

function cascaded(...args: Parameters<typeof cascade>): EncoderFolder {
  try {
    return cascade(...args);
  } catch (error) {
    throw namingFlags(error, new Map([["depth", "--depth"]]));
  }
}

export interface FinetuneFlags {
  readonly train: string[];
  readonly test: string[];
  readonly output?: string;
  readonly probe?: true;
  readonly pool?: "cls" | "mean";
  readonly untrained?: true;
  readonly blocks?: number;
  readonly heads?: number;
  readonly decoderHeads?: number;
  readonly epochs: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly warmupEpochs: number;
  readonly layerDecay: number;
  readonly labelSmoothing: number;
  readonly leastArea: number;
  readonly mirror: boolean;
  readonly seed: number;
  readonly threads?: number;
  readonly json?: true;
}

/** `epalm fedmae finetune` trains an encoder on labelled images, or probes it. */
export async function finetuneCommand(path: string, flags: FinetuneFlags, { signal }: CliContext): Promise<void> {
  const read = await readEncoder(path, { heads: flags.heads, decoderHeads: flags.decoderHeads });
  const encoder = flags.untrained ? untrained(read, flags.seed) : read;
  const [training, test] = await Promise.all([readLabelledImages(flags.train), readLabelledImages(flags.test)]);
  note(`${formatCount(training.length)} training images, ${formatCount(test.length)} test images`);
  const accuracies = flags.probe
    ? await probe(encoder, { training, test }, flags)
    : await train(encoder, { training, test }, flags, signal);
  if (flags.json) print(JSON.stringify(Object.fromEntries(accuracies)));
  else print(formatTable(Array.from(accuracies, ([attribute, accuracy]) => [attribute, formatShare(accuracy)])));
}

type ProbeFlags = Pick<FinetuneFlags, "pool" | "epochs" | "batchSize" | "learningRate" | "seed" | "threads">;

type Data = Readonly<Record<"training" | "test", readonly LabelledImage[]>>;

function probe(encoder: EncoderFolder, data: Data, flags: ProbeFlags) {
  const bar = new SingleBar({ format: "encoder {bar} {value}/{total} images", stream: process.stderr });
  return linearProbe(encoder, {
    ...data,
    pool: flags.pool ?? encoder.config.epalm_pooling ?? "cls",
    epochs: flags.epochs,
    batchSize: flags.batchSize,
    learningRate: flags.learningRate,
    // MAE's published linear probe uses none.
    weightDecay: 0,
    seed: flags.seed,
    threads: flags.threads,
    onImages(done, all) {
      if (!bar.isActive) bar.start(all, 0);
      bar.update(done);
      if (done === all) bar.stop();
    },
  });
}

async function train(encoder: EncoderFolder, data: Data, flags: FinetuneFlags, signal: AbortSignal) {
  if (flags.output === undefined) throw new EpalmError("invalid_option", "--output: expected a folder for the encoder");
  const format = "step {value}/{total} {bar} loss {loss} · {eta_formatted} left";
  const bar = new SingleBar({ format, stream: process.stderr, noTTYOutput: true, notTTYSchedule: 10_000 });
  try {
    return await finetune(
      encoder,
      {
        ...data,
        output: flags.output,
        trainedBlocks: flags.blocks,
        epochs: flags.epochs,
        batchSize: flags.batchSize,
        learningRate: flags.learningRate,
        weightDecay: flags.weightDecay,
        warmupEpochs: flags.warmupEpochs,
        layerDecay: flags.layerDecay,
        labelSmoothing: flags.labelSmoothing,
        leastArea: flags.leastArea,
        mirror: flags.mirror,
        seed: flags.seed,
        threads: flags.threads,
      },
      {
        signal,
        onStep(step, steps, loss) {
          if (!bar.isActive) bar.start(steps, step - 1, { loss: "" });
          bar.update(step, { loss: loss.toFixed(3) });
        },
        onEpoch(epoch, accuracies) {
          bar.stop();
          const named = Array.from(accuracies, ([attribute, accuracy]) => `${attribute} ${formatShare(accuracy)}`);
          note(`epoch ${epoch}: ${named.join(" · ")}`);
        },
      },
    );
  } catch (error) {
    throw namingFlags(error, new Map([["trained blocks", "--blocks"]]));
  } finally {
    bar.stop();
  }
}

export interface ImportFlags {
  readonly output: string;
  readonly heads?: number;
  readonly decoderHeads?: number;
  readonly imageSize?: number;
  readonly pooling?: Pooling;
  readonly train?: string[];
  readonly test?: string[];
  /** Epochs of the probe, which `train` and `test` ask for. */
  readonly epochs: number;
  readonly learningRate: number;
  readonly threads?: number;
  readonly json?: true;
}

/** `epalm fedmae import` converts a published checkpoint into an encoder folder. */
export async function importCommand(path: string, flags: ImportFlags): Promise<void> {
  const { output, heads, decoderHeads, imageSize, pooling: given, json } = flags;
  if (given === "attention") {
    throw unexpected(
      "invalid_option",
      "--pooling",
      "cls or mean, as masked autoencoders have no attention pooling",
      given,
    );
  }
  const read = await readEncoder(path, { heads, decoderHeads });
  const resized = imageSize === undefined ? read : resizeEncoder(read, imageSize);
  const pooling = given ?? (await measuredPooling(resized, flags)) ?? read.config.epalm_pooling;
  const encoder = { ...resized, config: { ...resized.config, epalm_pooling: pooling } };
  writeEncoderFolder(output, encoder);
  printEncoder(output, encoder, json, `, ${encoder.config.image_size} pixels`);
}

/** The pooling with the higher accuracy in a linear probe, over all attributes; the mean of the patches if they tie. */
async function measuredPooling(encoder: EncoderFolder, flags: ImportFlags) {
  const { train, test } = flags;
  if (train === undefined && test === undefined) return undefined;
  if (train === undefined || test === undefined) {
    throw new EpalmError("invalid_option", `${train ? "--test" : "--train"}: expected images, because both are needed`);
  }
  const [training, held] = await Promise.all([readLabelledImages(train), readLabelledImages(test)]);
  const accuracy = async (pool: "cls" | "mean") => {
    const probed = await probe(encoder, { training, test: held }, { ...flags, pool, batchSize: 64, seed: 0 });
    const accuracies = Array.from(probed.values());
    return accuracies.reduce((sum, share) => sum + share, 0) / accuracies.length;
  };
  const [cls, mean] = [await accuracy("cls"), await accuracy("mean")];
  note(`linear probe: class token ${formatShare(cls)}, mean of the patches ${formatShare(mean)}`);
  return cls > mean ? "cls" : "mean";
}

const statesOf = { cls: "class tokens", mean: "means of the patches" };

function printEncoder(path: string, { config }: EncoderFolder, json: true | undefined, more: string): void {
  const { num_hidden_layers: blocks, hidden_size: width, image_size: imageSize, epalm_pooling: pooling } = config;
  if (json) print(JSON.stringify({ encoder: path, blocks, width, imageSize, pooling }));
  else print(`encoder ${path}: ${blocks} blocks of width ${width}${more}; states: ${statesOf[pooling ?? "cls"]}`);
}

export interface ReconstructFlags {
  readonly output: string;
  readonly heads?: number;
  readonly decoderHeads?: number;
  readonly seed: number;
  readonly json?: true;
}

/** `epalm fedmae reconstruct` draws a masked autoencoder's reconstructions of images. */
export async function reconstructCommand(
  path: string,
  images: readonly string[],
  flags: ReconstructFlags,
): Promise<void> {
  const { output, seed, json, ...heads } = flags;
  const source = { path, ...(await readEncoder(path, heads)) };
  const { png, loss, meanPatchLoss } = await reconstruct(requireMae(source), source.tensors, images, seed);
  writeFileSync(output, png);
  if (json) print(JSON.stringify({ picture: output, loss, meanPatchLoss }));
  else print(`${output}: loss ${loss.toFixed(4)}, patch-mean baseline ${meanPatchLoss.toFixed(4)}`);
}
