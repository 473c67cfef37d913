import { type Command, Option } from "commander";
import { poolings } from "../../backbones/backbone.js";
import type { CascadeFlags, FinetuneFlags, ImportFlags, PretrainFlags, ReconstructFlags } from "../actions/fedmae.js";
import type { CliContext } from "../context.js";
import { addThreadsOption } from "../options/model-option.js";
import { integer, number } from "../options/option-values.js";
import { styleHeadings } from "../output/colours.js";
import { examplesOf } from "../output/examples-of.js";
import { addRoundCommands } from "./fedmae-rounds.js";

const examples = `
Examples:
  epalm fedmae pretrain hospitals.yaml
  epalm fedmae cascade run/blocks/0 run/blocks/1 run/blocks/2 --output encoder
  epalm fedmae finetune run/mae --train labelled --test held-out --output encoder
  epalm fedmae finetune run/mae --train labelled --test held-out --probe
  epalm fedmae import mae_pretrain_vit_base.pth --output encoder
  epalm fedmae reconstruct run/blocks/0 photo.jpg --output grid.png
  epalm build --encoder encoder --decoder facebook/opt-125m --output my-model`;

/** Far more than any published encoder has. */
const MAX_BLOCKS = 1000;
const MAX_SIZE = 4096;

/** Plain weights files do not specify how the width is divided into heads. */
function headsOption(): Option {
  return new Option(
    "--heads <n>",
    "attention heads, if a file does not specify them (default: that of published encoders of the same width)",
  ).argParser(integer(1, MAX_SIZE));
}

function decoderHeadsOption(): Option {
  return new Option(
    "--decoder-heads <n>",
    "attention heads of the decoder, if a file does not specify them (default: 16 for the published width of 512)",
  ).argParser(integer(1, MAX_SIZE));
}

/** `epalm fedmae` pre-trains encoders on images that must not leave their owners. */
export function addFedMaeCommand(program: Command, context: CliContext): void {
  const fedmae = program
    .command("fedmae")
    .summary("pre-train an encoder on federated clients")
    .description(
      "Pre-trains one-block masked autoencoders on clients that keep their images, and cascades them into an encoder (FedMAE).",
    )
    .addHelpText("after", styleHeadings(examples));
  addPretrain(fedmae, context);
  addRoundCommands(fedmae, context);
  addCascade(fedmae);
  addFinetune(fedmae, context);
  addImport(fedmae);
  addReconstruct(fedmae);
}

function addPretrain(fedmae: Command, context: CliContext): void {
  fedmae
    .command("pretrain")
    .summary("run federated pre-training from a config file")
    .description(
      "Runs rounds in which clients train locally, in separate processes, and the server averages their weights; then cascades the blocks.",
    )
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
      "Stacks the blocks of the checkpoints in the given order; a single block is repeated. Other tensors are averaged.",
    )
    .argument("<checkpoints...>", "masked autoencoders: folders, .pth or .safetensors files")
    .requiredOption("-o, --output <dir>", "folder for the encoder")
    .option("--depth <n>", "number of blocks in the result", integer(1, MAX_BLOCKS))
    .addOption(headsOption())
    .addOption(decoderHeadsOption())
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

/** The defaults of MAE's published linear probe, whose epochs are cheap, and those of fine-tuning. */
const PROBE = { epochs: 90, learningRate: 1e-3 };
const FINETUNE = { epochs: 50, learningRate: 1e-3 };

/** The flags as commander returns them; some defaults depend on `--probe`. */
type GivenFinetuneFlags = Omit<FinetuneFlags, keyof typeof FINETUNE> & Partial<typeof FINETUNE>;

function addFinetune(fedmae: Command, context: CliContext): void {
  const command = fedmae
    .command("finetune")
    .summary("train an encoder on labelled images, or probe it")
    .description(
      "Trains an encoder, or its last blocks, to classify labelled images. With --probe, the encoder stays frozen and a linear classifier is trained on its states.",
    )
    .argument("<encoder>", "encoder: folder or file")
    .requiredOption(
      "--train <sources...>",
      "training images: folders with one subfolder per label, or .jsonl files of {image, labels: {attribute: label}, regions}",
    )
    .requiredOption("--test <sources...>", "test images in the same form")
    .option("-o, --output <dir>", "folder for the trained encoder; not used with --probe")
    .option("--probe", "keep the encoder frozen and train only a linear classifier")
    .addOption(
      new Option(
        "--pool <what>",
        "input of the probe from the last block: class token or mean of the patches (default: what the encoder's folder records)",
      ).choices(["cls", "mean"]),
    )
    .option("--untrained", "start from random weights, as a baseline without pre-training")
    .option("--blocks <n>", "train only the last n blocks (default: all)", integer(0, MAX_BLOCKS))
    .addOption(headsOption())
    .addOption(decoderHeadsOption())
    .option(
      "--epochs <n>",
      `number of epochs (default: ${FINETUNE.epochs}; with --probe: ${PROBE.epochs})`,
      integer(1, 100_000),
    )
    .option("--batch-size <n>", "images per step", integer(1, 65_536), 64)
    .option("--learning-rate <x>", "peak learning rate (default: 0.001)", number(0, 10))
    .option("--weight-decay <x>", "weight decay of matrices", number(0, 10), 0.05)
    .option("--warmup-epochs <x>", "epochs during which the learning rate increases", number(0, 100_000), 5)
    .option("--layer-decay <x>", "factor of a block's learning rate relative to the block above", number(0, 1), 0.75)
    .option("--label-smoothing <x>", "share of the probability that is spread over all labels", number(0, 1), 0.1)
    .option(
      "--least-area <x>",
      "minimum share of the image's area in a random crop; 1 disables cropping",
      number(0, 1),
      0.5,
    )
    .option("--no-mirror", "do not mirror images")
    .option(
      "--seed <n>",
      "seed of the order, the crops and the initial weights",
      integer(0, Number.MAX_SAFE_INTEGER),
      0,
    )
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
  const command = fedmae
    .command("import")
    .summary("convert a published checkpoint into an encoder folder")
    .description(
      "Converts .pth files of facebookresearch/mae (complete or encoder only) and Hugging Face ViTMAE folders.",
    )
    .argument("<checkpoint>", "checkpoint: folder or file")
    .requiredOption("-o, --output <dir>", "folder for the encoder")
    .addOption(headsOption())
    .addOption(decoderHeadsOption())
    .option(
      "--image-size <n>",
      "image size in pixels, to which the position embeddings are interpolated",
      integer(1, MAX_SIZE),
    )
    .addOption(
      new Option(
        "--pooling <how>",
        "states that epalm build takes: class tokens or means of the patches (default: mean, unless the checkpoint was fine-tuned on its class token)",
      ).choices(poolings),
    )
    .option("--train <sources...>", "labelled images, as for finetune: choose the pooling by a linear probe on them")
    .option("--test <sources...>", "labelled images on which the probe is scored")
    .option("--json", "print the result as JSON");
  command.addHelpText(
    "after",
    examplesOf(
      "epalm fedmae import mae_pretrain_vit_base.pth --output encoder",
      "epalm fedmae import vit-mae-base --image-size 384 --output encoder-384",
      "epalm fedmae import vit-mae-base --train labelled --test held-out --output encoder",
    ),
  );
  addThreadsOption(command).action(async (path: string, flags: Omit<ImportFlags, keyof typeof PROBE>) =>
    (await import("../actions/fedmae.js")).importCommand(path, { ...PROBE, ...flags }),
  );
}

function addReconstruct(fedmae: Command): void {
  fedmae
    .command("reconstruct")
    .summary("draw reconstructions of a masked autoencoder")
    .description("Writes an image with one row per input: the original, the visible patches and the reconstruction.")
    .argument("<checkpoint>", "masked autoencoder with its decoder: folder or file")
    .argument("<images...>", "images to reconstruct")
    .requiredOption("-o, --output <file>", "PNG file to write")
    .addOption(headsOption())
    .addOption(decoderHeadsOption())
    .option("--seed <n>", "seed of the mask", integer(0, Number.MAX_SAFE_INTEGER), 0)
    .option("--json", "print the result as JSON")
    .addHelpText("after", examplesOf("epalm fedmae reconstruct run/blocks/0 photo.jpg --output grid.png"))
    .action(async (path: string, pictures: string[], flags: ReconstructFlags) =>
      (await import("../actions/fedmae.js")).reconstructCommand(path, pictures, flags),
    );
}
