import { writeFileSync } from "node:fs";
import { SingleBar } from "cli-progress";
import { type Command, Option } from "commander";
import {
  type ClientCost,
  cascade,
  type EncoderFolder,
  finetune,
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
import { EpalmError } from "../../index.js";
import type { CliContext } from "../context.js";
import { integer, number } from "../options/option-values.js";
import { addThreadsOption } from "../options/with-model.js";
import { styleHeadings } from "../output/colours.js";
import { formatBytes, formatCount, formatShare, formatTable, note, print } from "../output/output.js";

const examples = `
Examples:
  epalm fedmae pretrain hospitals.yaml
  epalm fedmae cascade run/blocks/0 run/blocks/1 run/blocks/2 --output encoder
  epalm fedmae finetune run/mae --train labelled --test held-out --output encoder
  epalm fedmae finetune run/mae --train labelled --test held-out --probe
  epalm fedmae import mae_pretrain_vit_base.pth --output encoder
  epalm fedmae reconstruct run/blocks/0 photo.jpg --output grid.png
  epalm build --encoder encoder --decoder facebook/opt-125m --output my-model`;

function examplesOf(...lines: readonly string[]): string {
  return styleHeadings(["", "Examples:", ...lines.map((line) => `  ${line}`)].join("\n"));
}

/** No network has more. */
const MAX_BLOCKS = 1000;
const MAX_SIZE = 4096;

/** Bare files of weights do not tell how their width is divided. */
function headsOption(): Option {
  return new Option(
    "--heads <n>",
    "attention heads, where a file does not say (default: width / 64)",
  ).argParser(integer(1, MAX_SIZE));
}

function decoderHeadsOption(): Option {
  return new Option(
    "--decoder-heads <n>",
    "of the decoder, where a file does not say (default: 16)",
  ).argParser(integer(1, MAX_SIZE));
}

/** `epalm fedmae`: encoders from pictures that may not leave their owners. */
export function addFedMaeCommand(program: Command, context: CliContext): void {
  const fedmae = program
    .command("fedmae")
    .summary("pre-train an encoder on federated clients")
    .description(
      "Masked auto-encoders of one block, pre-trained where the pictures are, cascaded into an encoder (FedMAE).",
    )
    .addHelpText("after", styleHeadings(examples));
  addPretrain(fedmae, context);
  addCascade(fedmae);
  addFinetune(fedmae, context);
  addImport(fedmae);
  addReconstruct(fedmae);
}

function addPretrain(fedmae: Command, { signal }: CliContext): void {
  fedmae
    .command("pretrain")
    .summary("federated pre-training, as a config file says")
    .description("Rounds of local training in the clients' own processes, averages, then the cascade.")
    .argument("<config>", "YAML or JSON file; docs/fedmae.md lists its keys")
    .option("--json", "print the result as JSON")
    .addHelpText("after", examplesOf("epalm fedmae pretrain hospitals.yaml"))
    .action(async (path: string, { json }: { json?: true }) => {
      const result = await pretrain(readFedMaeConfig(path), {
        signal,
        onPlan({ clients, rounds, resumedFrom }) {
          const pictures = clients.reduce((sum, client) => sum + client.pictures, 0);
          note(
            `${formatCount(clients.length)} clients, ${formatCount(pictures)} pictures, ${formatCount(rounds)} rounds`,
          );
          if (resumedFrom > 0) note(`goes on after round ${formatCount(resumedFrom)}`);
        },
        onCost: (client, fullDepth) => note(costTable(client, fullDepth)),
        onUnmeasured: (reason) => note(`what a client costs was not measured: ${reason}`),
        onRound({ round, clients }) {
          const answered = clients.flatMap((client) => (client.kind === "answered" ? [client] : []));
          for (const client of clients) {
            if (client.kind === "left out")
              note(`round ${round}: ${client.name} is left out: ${client.reason}`);
          }
          const mean = (of: (client: (typeof answered)[number]) => number) =>
            answered.reduce((sum, client) => sum + of(client), 0) / answered.length;
          const peak = Math.max(...answered.map(({ peakBytes }) => peakBytes));
          note(
            [
              `round ${round}: loss ${mean(({ loss }) => loss).toFixed(4)}`,
              `patch's mean ${mean(({ meanPatchLoss }) => meanPatchLoss).toFixed(4)}`,
              `${formatBytes(mean(({ bytesDown }) => bytesDown))} down, ${formatBytes(mean(({ bytesUp }) => bytesUp))} up per client`,
              `peak ${formatBytes(peak)}`,
            ].join(" · "),
          );
        },
      });
      if (json)
        print(JSON.stringify({ encoder: result.encoder, blocks: result.blocks, report: result.report }));
      else print(`encoder ${result.encoder}\nreport  ${result.report}`);
    });
}

/** What one-block pre-training is for: a client beside one of full depth. */
function costTable(client: ClientCost, fullDepth: ClientCost): string {
  const ratio = (a: number, b: number) => `${(b / a).toFixed(1)} x`;
  const row = (title: string, of: (cost: ClientCost) => number, format: (value: number) => string) => [
    title,
    format(of(client)),
    format(of(fullDepth)),
    ratio(of(client), of(fullDepth)),
  ];
  return formatTable([
    ["", client.name, fullDepth.name, "full depth over client"],
    row("blocks", ({ blocks }) => blocks, formatCount),
    row("parameters", ({ parameters }) => parameters, formatCount),
    row("down per round", ({ bytesDown }) => bytesDown, formatBytes),
    row("up per round", ({ bytesUp }) => bytesUp, formatBytes),
    row("peak memory", ({ peakBytes }) => peakBytes, formatBytes),
    row(
      "time per picture",
      (cost) => cost.millisecondsPerPicture,
      (value) => `${value.toFixed(1)} ms`,
    ),
  ]);
}

interface CascadeFlags {
  readonly output: string;
  readonly depth?: number;
  readonly heads?: number;
  readonly json?: true;
}

function addCascade(fedmae: Command): void {
  fedmae
    .command("cascade")
    .summary("stack checkpoints into one encoder")
    .description(
      "Stacks the blocks of checkpoints in the order given; one alone is repeated. Other tensors are averaged.",
    )
    .argument("<checkpoints...>", "masked auto-encoders: folders, .pth or .safetensors files")
    .requiredOption("-o, --output <dir>", "folder of the encoder")
    .option("--depth <n>", "blocks in the end", integer(1, MAX_BLOCKS))
    .addOption(headsOption())
    .option("--json", "print the result as JSON")
    .addHelpText(
      "after",
      examplesOf(
        "epalm fedmae cascade run/blocks/0 run/blocks/1 run/blocks/2 --output encoder",
        "epalm fedmae cascade block.pth --depth 12 --output encoder",
      ),
    )
    .action(async (paths: string[], { output, depth, heads, json }: CascadeFlags) => {
      const sources = await Promise.all(
        paths.map(async (path) => ({ path, ...(await readEncoderFolder(path, { heads })) })),
      );
      const encoder = cascade(sources, depth);
      writeEncoderFolder(output, encoder);
      printEncoder(output, encoder, json, "");
    });
}

interface FinetuneFlags {
  readonly train: string[];
  readonly test: string[];
  readonly output?: string;
  readonly probe?: true;
  readonly pool: "cls" | "mean";
  readonly untrained?: true;
  readonly blocks?: number;
  readonly heads?: number;
  readonly epochs?: number;
  readonly batchSize: number;
  readonly learningRate?: number;
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

/** Of the published probe and of fine-tuning; a probe's epochs cost next to nothing. */
const PROBE = { epochs: 90, learningRate: 1e-3 };
const FINETUNE = { epochs: 50, learningRate: 1e-3 };

function addFinetune(fedmae: Command, context: CliContext): void {
  const command = fedmae
    .command("finetune")
    .summary("train an encoder on labelled pictures, or probe it")
    .description(
      "Trains an encoder, or its last blocks, to name what labelled pictures show; or probes it, frozen.",
    )
    .argument("<encoder>", "folder or file")
    .requiredOption(
      "--train <sources...>",
      "folders with a sub-folder per label, or .jsonl of {image, labels: {attribute: label}, regions}",
    )
    .requiredOption("--test <sources...>", "the same, held out")
    .option("-o, --output <dir>", "folder of the encoder (not for a probe)")
    .option("--probe", "leave the encoder frozen: only a linear classifier is trained")
    .addOption(
      new Option("--pool <what>", "what a probe sees of the last block: class token, or mean of the patches")
        .choices(["cls", "mean"])
        .default("cls"),
    )
    .option("--untrained", "start from random weights: what pre-training adds is the difference")
    .option("--blocks <n>", "train the last n blocks only (default: all)", integer(0, MAX_BLOCKS))
    .addOption(headsOption())
    .option("--epochs <n>", `default: ${FINETUNE.epochs}; for a probe ${PROBE.epochs}`, integer(1, 100_000))
    .option("--batch-size <n>", "pictures per step", integer(1, 65_536), 64)
    .option("--learning-rate <x>", "default: 0.001", number(0, 10))
    .option("--weight-decay <x>", "of matrices", number(0, 10), 0.05)
    .option("--warmup-epochs <x>", "epochs in which the rate goes up", number(0, 100_000), 5)
    .option(
      "--layer-decay <x>",
      "each block learns so much more slowly than the one above",
      number(0, 1),
      0.75,
    )
    .option("--label-smoothing <x>", "share of probability spread over all labels", number(0, 1), 0.1)
    .option("--least-area <x>", "share of the area that a crop has at least; 1: no crops", number(0, 1), 0.5)
    .option("--no-mirror", "never mirror pictures")
    .option("--seed <n>", "of order, crops and first weights", integer(0, Number.MAX_SAFE_INTEGER), 0)
    .option("--json", "print the accuracies as JSON");
  command.addHelpText(
    "after",
    examplesOf(
      "epalm fedmae finetune run/mae --train labelled --test held-out --output encoder",
      "epalm fedmae finetune run/mae --train labelled --test held-out --probe --json",
    ),
  );
  addThreadsOption(command).action((path: string, flags: FinetuneFlags) =>
    finetuneCommand(path, flags, context),
  );
}

async function finetuneCommand(path: string, flags: FinetuneFlags, { signal }: CliContext): Promise<void> {
  const read = await readEncoderFolder(path, { heads: flags.heads });
  const encoder = flags.untrained ? untrained(read, flags.seed) : read;
  const [training, test] = await Promise.all([
    readLabelledImages(flags.train),
    readLabelledImages(flags.test),
  ]);
  note(`${formatCount(training.length)} training pictures, ${formatCount(test.length)} for the test`);
  const accuracies = flags.probe
    ? await probe(encoder, { training, test }, flags)
    : await train(encoder, { training, test }, flags, signal);
  if (flags.json) print(JSON.stringify(Object.fromEntries(accuracies)));
  else
    print(formatTable(Array.from(accuracies, ([attribute, accuracy]) => [attribute, formatShare(accuracy)])));
}

type Pictures = Awaited<ReturnType<typeof readLabelledImages>>;

function probe(encoder: EncoderFolder, data: { training: Pictures; test: Pictures }, flags: FinetuneFlags) {
  const bar = new SingleBar({ format: "encoder {bar} {value}/{total} pictures", stream: process.stderr });
  return linearProbe(encoder, {
    ...data,
    pool: flags.pool,
    epochs: flags.epochs ?? PROBE.epochs,
    batchSize: flags.batchSize,
    learningRate: flags.learningRate ?? PROBE.learningRate,
    // The published probe has none.
    weightDecay: 0,
    seed: flags.seed,
    threads: flags.threads,
    onPictures(done, all) {
      if (!bar.isActive) bar.start(all, 0);
      bar.update(done);
      if (done === all) bar.stop();
    },
  });
}

async function train(
  encoder: EncoderFolder,
  data: { training: Pictures; test: Pictures },
  flags: FinetuneFlags,
  signal: AbortSignal,
) {
  if (flags.output === undefined)
    throw new EpalmError("invalid_option", "--output: expected a folder for the encoder");
  const format = "step {value}/{total} {bar} loss {loss} · {eta_formatted} left";
  const bar = new SingleBar({ format, stream: process.stderr, noTTYOutput: true, notTTYSchedule: 10_000 });
  try {
    return await finetune(
      encoder,
      {
        ...data,
        output: flags.output,
        trainedBlocks: flags.blocks,
        epochs: flags.epochs ?? FINETUNE.epochs,
        batchSize: flags.batchSize,
        learningRate: flags.learningRate ?? FINETUNE.learningRate,
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
          const named = Array.from(
            accuracies,
            ([attribute, accuracy]) => `${attribute} ${formatShare(accuracy)}`,
          );
          note(`epoch ${epoch}: ${named.join(" · ")}`);
        },
      },
    );
  } finally {
    bar.stop();
  }
}

interface ImportFlags {
  readonly output: string;
  readonly heads?: number;
  readonly decoderHeads?: number;
  readonly imageSize?: number;
  readonly json?: true;
}

function addImport(fedmae: Command): void {
  fedmae
    .command("import")
    .summary("turn a published checkpoint into an encoder folder")
    .description(
      "Reads facebookresearch/mae .pth files (full or encoder only) and Hugging Face ViTMAE folders.",
    )
    .argument("<checkpoint>", "folder or file")
    .requiredOption("-o, --output <dir>", "folder of the encoder")
    .addOption(headsOption())
    .addOption(decoderHeadsOption())
    .option("--image-size <n>", "pixels: positions are interpolated to it", integer(1, MAX_SIZE))
    .option("--json", "print the result as JSON")
    .addHelpText(
      "after",
      examplesOf(
        "epalm fedmae import mae_pretrain_vit_base.pth --output encoder",
        "epalm fedmae import vit-mae-base --image-size 384 --output encoder-384",
      ),
    )
    .action(async (path: string, { output, heads, decoderHeads, imageSize, json }: ImportFlags) => {
      const read = await readEncoderFolder(path, { heads, decoderHeads });
      const encoder = imageSize === undefined ? read : resizeEncoder(read, imageSize);
      writeEncoderFolder(output, encoder);
      printEncoder(output, encoder, json, `, ${encoder.config.image_size} pixels`);
    });
}

function printEncoder(path: string, { config }: EncoderFolder, json: true | undefined, more: string): void {
  const { num_hidden_layers: blocks, hidden_size: width, image_size: side } = config;
  if (json) print(JSON.stringify({ encoder: path, blocks, width, imageSize: side }));
  else print(`encoder ${path}: ${blocks} blocks of width ${width}${more}`);
}

interface ReconstructFlags {
  readonly output: string;
  readonly heads?: number;
  readonly decoderHeads?: number;
  readonly seed: number;
  readonly json?: true;
}

function addReconstruct(fedmae: Command): void {
  fedmae
    .command("reconstruct")
    .summary("draw what a masked auto-encoder makes of pictures")
    .description("Writes a picture with a row each of: original, what is seen, reconstruction.")
    .argument("<checkpoint>", "masked auto-encoder with its decoder: folder or file")
    .argument("<pictures...>", "files")
    .requiredOption("-o, --output <file>", "PNG that is written")
    .addOption(headsOption())
    .addOption(decoderHeadsOption())
    .option("--seed <n>", "of the mask", integer(0, Number.MAX_SAFE_INTEGER), 0)
    .option("--json", "print the result as JSON")
    .addHelpText("after", examplesOf("epalm fedmae reconstruct run/blocks/0 photo.jpg --output grid.png"))
    .action(async (path: string, pictures: string[], flags: ReconstructFlags) => {
      const { output, seed, json, ...heads } = flags;
      const source = { path, ...(await readEncoderFolder(path, heads)) };
      const { png, loss, meanPatchLoss } = await reconstruct(
        requireMae(source),
        source.tensors,
        pictures,
        seed,
      );
      writeFileSync(output, png);
      if (json) print(JSON.stringify({ picture: output, loss, meanPatchLoss }));
      else
        print(`${output}: loss ${loss.toFixed(4)}, of saying each patch's mean ${meanPatchLoss.toFixed(4)}`);
    });
}
