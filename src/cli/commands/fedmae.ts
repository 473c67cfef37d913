import { type Command, Option } from "commander";
import type { CascadeFlags, FinetuneFlags, ImportFlags, PretrainFlags, ReconstructFlags } from "../actions/fedmae.js";
import type { CliContext } from "../context.js";
import { addThreadsOption } from "../options/model-option.js";
import { integer, number } from "../options/option-values.js";
import { styleHeadings } from "../output/colours.js";

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
  return new Option("--heads <n>", "attention heads, where a file does not say (default: width / 64)").argParser(
    integer(1, MAX_SIZE),
  );
}

function decoderHeadsOption(): Option {
  return new Option("--decoder-heads <n>", "of the decoder, where a file does not say (default: 16)").argParser(
    integer(1, MAX_SIZE),
  );
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

function addPretrain(fedmae: Command, context: CliContext): void {
  fedmae
    .command("pretrain")
    .summary("federated pre-training, as a config file says")
    .description("Rounds of local training in the clients' own processes, averages, then the cascade.")
    .argument("<config>", "YAML or JSON file; docs/fedmae.md lists its keys")
    .option("--json", "print the result as JSON")
    .addHelpText("after", examplesOf("epalm fedmae pretrain hospitals.yaml"))
    .action(async (path: string, flags: PretrainFlags) =>
      (await import("../actions/fedmae.js")).pretrainCommand(path, flags, context),
    );
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
    .action(async (paths: string[], flags: CascadeFlags) =>
      (await import("../actions/fedmae.js")).cascadeCommand(paths, flags),
    );
}

/** Of the published probe and of fine-tuning; a probe's epochs cost next to nothing. */
const PROBE = { epochs: 90, learningRate: 1e-3 };
const FINETUNE = { epochs: 50, learningRate: 1e-3 };

/** As commander hands them over: the defaults depend on whether it is a probe. */
type GivenFinetuneFlags = Omit<FinetuneFlags, keyof typeof FINETUNE> & Partial<typeof FINETUNE>;

function addFinetune(fedmae: Command, context: CliContext): void {
  const command = fedmae
    .command("finetune")
    .summary("train an encoder on labelled pictures, or probe it")
    .description("Trains an encoder, or its last blocks, to name what labelled pictures show; or probes it, frozen.")
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
    .option("--layer-decay <x>", "each block learns so much more slowly than the one above", number(0, 1), 0.75)
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
  addThreadsOption(command).action(async (path: string, flags: GivenFinetuneFlags) => {
    const { finetuneCommand } = await import("../actions/fedmae.js");
    await finetuneCommand(path, { ...(flags.probe ? PROBE : FINETUNE), ...flags }, context);
  });
}

function addImport(fedmae: Command): void {
  fedmae
    .command("import")
    .summary("turn a published checkpoint into an encoder folder")
    .description("Reads facebookresearch/mae .pth files (full or encoder only) and Hugging Face ViTMAE folders.")
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
    .action(async (path: string, flags: ImportFlags) =>
      (await import("../actions/fedmae.js")).importCommand(path, flags),
    );
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
    .action(async (path: string, pictures: string[], flags: ReconstructFlags) =>
      (await import("../actions/fedmae.js")).reconstructCommand(path, pictures, flags),
    );
}
