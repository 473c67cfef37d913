import { type Command, Option } from "commander";
import { MAX_FRAMES } from "../../backbones/backbone.js";
import type { Precision } from "../../model/manifest.js";
import type { BuildFlags } from "../actions/build.js";
import type { CliContext } from "../context.js";
import { collectAdapter } from "../options/adapter-flag.js";
import { integer, someText } from "../options/option-values.js";
import { styleHeadings } from "../output/colours.js";

const precisions = ["fp32", "int8", "int4"] as const satisfies readonly Precision[];

/** Layers, states and heads of the largest public models are below; more is a slip of the finger. */
const MAX_COUNT = 1024;

/** A terabyte: more than any model has. */
const MAX_SHARD_MB = 1_000_000;

const examples = `
An ENCODER or DECODER is a path, or a model of the hub such as facebook/opt-125m or facebook/opt-125m@<revision>.
Downloads are kept in EPALM_CACHE, else in HF_HOME/epalm, else in ~/.cache/epalm/hub.

Examples:
  epalm build --encoder google/vit-base-patch16-224 --decoder facebook/opt-350m \\
    --adapter coco=caption.pth:caption --adapter vqa2=vqa.pth:vqa --output captioner
  epalm build --encoder ./vit --decoder ./opt --adapter a=adapter.safetensors --precision fp32 --output exact
  epalm build --image-encoder ./vit --audio-encoder MIT/ast-finetuned-audioset-10-10-0.4593 --video-encoder ./vit \\
    --decoder ./opt --adapter p=pictures.pth --adapter s=sounds.pth:caption:audio --adapter v=clips.pth:video -o all`;

/** `epalm build`: a model folder from public checkpoints. */
export function addBuildCommand(program: Command, context: CliContext): void {
  const command = program
    .command("build")
    .summary("make a model folder from public checkpoints")
    .description(
      "Makes a model folder from a frozen encoder for each modality (at least one), a frozen decoder, and any number of adapters.",
    )
    .option(
      "--encoder <encoder>",
      "perception backbone, of what its checkpoint is for: a hub id, a folder, or a file of weights",
    )
    .option("--image-encoder <encoder>", "of pictures: a vision transformer")
    .option("--audio-encoder <encoder>", "of sounds: an AST")
    .option("--video-encoder <encoder>", "of videos: a TimeSformer, or an encoder of pictures, over the frames")
    .option(
      "--frames <n>",
      "frames that the encoder of videos takes (default: as its checkpoint, 8 over an encoder of pictures)",
      integer(1, MAX_FRAMES),
    )
    .requiredOption("--decoder <decoder>", "language model: a hub id or a folder")
    .option(
      "--adapter <name=path[:tasks][:modality]>",
      "adapter file, what it was trained for: caption, vqa or both (default: both), and on what: image, audio or video (default: the first encoder's); may be repeated",
      collectAdapter,
    )
    .requiredOption("-o, --output <dir>", "the model folder; must not exist", someText)
    .option("--name <name>", "what the model calls itself (default: the last part of the folder)", someText)
    .option("--offline", "use what was downloaded before, and never the network")
    .option("--json", "print what was built as JSON, like `epalm inspect --json`");
  addWeightOptions(command);
  addAdapterOptions(command);
  command
    .addHelpText("after", styleHeadings(examples))
    .action(async (flags: BuildFlags) => (await import("../actions/build.js")).build(flags, context));
}

function addWeightOptions(command: Command): void {
  const precision = (flag: string, what: string) => new Option(`${flag} <type>`, what).choices(precisions);
  command
    .optionsGroup("Weights and media:")
    .addOption(precision("--precision", "of both backbones' weights").default("int8"))
    .addOption(precision("--encoder-precision", "of the encoders alone"))
    .addOption(precision("--decoder-precision", "of the decoder alone"))
    .option("--reduce-range", "7 bits instead of 8, for CPUs without VNNI")
    .addOption(
      new Option("--preprocessing <how>", "of media: as the encoders' files say, or as eP-ALM published")
        .choices(["source", "published"])
        .default("source"),
    )
    .option(
      "--heads <n>",
      "an encoder's attention heads, where its files do not tell (default: width / 64)",
      integer(1, MAX_COUNT),
    )
    .option(
      "--shard-mb <n>",
      "most megabytes (10^6 bytes) of one data file (default: 1 GiB)",
      integer(1, MAX_SHARD_MB),
    );
}

function addAdapterOptions(command: Command): void {
  command
    .optionsGroup("What adapter files leave open (those that say otherwise are refused):")
    .option("--adapter-states <k>", "how many of the encoder's last states are injected", integer(1, MAX_COUNT))
    .option("--adapter-start <layer>", "the first decoder layer that has the perceptual token", integer(0, MAX_COUNT))
    .option("--adapter-end <layer>", "the layer behind the last one that is injected into", integer(1, MAX_COUNT))
    .addOption(
      new Option("--perception-sees <what>", "what the perceptual token attends to (default: everything)").choices([
        "everything",
        "itself",
      ]),
    );
}
