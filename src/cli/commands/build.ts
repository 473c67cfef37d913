import { type Command, Option } from "commander";
import { MAX_FRAMES, MAX_IMAGE_SIZE, poolings } from "../../backbones/backbone.js";
import { precisions } from "../../core/precision.js";
import type { BuildFlags } from "../actions/build.js";
import type { CliContext } from "../context.js";
import { collectAdapter } from "../options/adapter-flag.js";
import { integer, someText } from "../options/option-values.js";
import { styleHeadings } from "../output/colours.js";

/** Far above the numbers of layers, states and heads in the largest public models. */
const MAX_COUNT = 1024;

/** One terabyte, which is more than any model needs. */
const MAX_SHARD_MB = 1_000_000;

const examples = `
An encoder or decoder is a path or a model on the Hugging Face Hub, such as facebook/opt-125m or
facebook/opt-125m@<revision>. Downloads are stored in EPALM_CACHE, or else in HF_HOME/epalm, or else in
~/.cache/epalm/hub.

Examples:
  epalm build --vlm HuggingFaceTB/SmolVLM-256M-Instruct --output captioner
  epalm build --encoder timm/vit_base_patch16_224.augreg_in21k_ft_in1k --decoder facebook/opt-2.7b \\
    --precision int4 --adapter coco=caption.pth:caption --adapter vqa2=vqa.pth:vqa --output captioner
  epalm build --encoder ./vit --decoder ./opt --adapter a=adapter.safetensors --precision fp32 --output exact
  epalm build --image-encoder ./vit --audio-encoder MIT/ast-finetuned-audioset-10-10-0.4593 --video-encoder ./vit \\
    --decoder ./opt --adapter p=pictures.pth --adapter s=sounds.pth:caption:audio --adapter v=clips.pth:video -o all`;

/** `epalm build` creates a model folder from public checkpoints. */
export function addBuildCommand(program: Command, context: CliContext): void {
  const command = program
    .command("build")
    .summary("create a model folder from public checkpoints")
    .description(
      "Creates a model folder from one frozen encoder per modality (at least one), a frozen decoder and any number of adapters, or from a whole vision-language model.",
    )
    .option(
      "--encoder <encoder>",
      "encoder for the modality of its checkpoint: a hub id, a folder, a weights file, or a model folder whose encoder is copied",
    )
    .option("--image-encoder <encoder>", "encoder for images: a vision transformer, such as a ViT, CLIP or SigLIP")
    .option("--audio-encoder <encoder>", "encoder for audio: an AST, or the encoder of Whisper")
    .option(
      "--video-encoder <encoder>",
      "encoder for video: a TimeSformer, a VideoMAE, a V-JEPA 2, or an image encoder that is applied to each frame",
    )
    .option(
      "--frames <n>",
      "frames per video (default: as many as the checkpoint specifies; 8 for an image encoder)",
      integer(1, MAX_FRAMES),
    )
    .option(
      "--vlm <model>",
      "whole vision-language model, a hub id or a folder, which is taken apart into an encoder for images, an adapter named vlm and a decoder: LLaVA, LLaVA-NeXT with one tile, Idefics3, SmolVLM or nanoVLM",
    )
    .option(
      "--decoder <decoder>",
      "decoder (required without --vlm), a causal language model: a hub id or a folder; the decoder graph of a model folder is built again",
    )
    .option(
      "--adapter <name=path[:tasks][:modality]>",
      "adapter file, with the tasks it was trained for: caption, vqa or caption,vqa (default: both), and its modality: image, audio or video (default: that of the first encoder); may be repeated",
      collectAdapter,
    )
    .requiredOption("-o, --output <dir>", "model folder to create; it must not exist", someText)
    .option("--name <name>", "name of the model (default: last part of the output path)", someText)
    .option("--offline", "use only earlier downloads, without network access")
    .option("--json", "print a description of the model as JSON, like `epalm inspect --json`");
  addWeightOptions(command);
  addAdapterOptions(command);
  command
    .addHelpText("after", styleHeadings(examples))
    .action(async (flags: BuildFlags) => (await import("../actions/build.js")).build(flags, context));
}

function addWeightOptions(command: Command): void {
  const precision = (flag: string, what: string) => new Option(`${flag} <type>`, what).choices(precisions);
  command
    .optionsGroup("Weights and preprocessing:")
    .addOption(precision("--precision", "precision of weights and computation (docs/precision.md)").default("int8"))
    .addOption(precision("--encoder-precision", "precision of the encoders, if different"))
    .addOption(precision("--decoder-precision", "precision of the decoder, if different"))
    .option("--reduce-range", "use 7 instead of 8 bits for int8 weights, for CPUs without VNNI")
    .addOption(
      new Option(
        "--preprocessing <how>",
        "preprocessing of media: as in the encoders' files, or as in the published eP-ALM code",
      )
        .choices(["source", "published"])
        .default("source"),
    )
    .addOption(
      new Option(
        "--pooling <how>",
        "what each state of an encoder is: its class token, the mean of its patches, or a single state from its own attention pooling, SigLIP's head (default: as epalm fedmae recorded it; otherwise cls, or mean without a trained class token)",
      ).choices(poolings),
    )
    .option(
      "--heads <n>",
      "attention heads of an encoder whose files do not specify them (default: that of published encoders of the same width)",
      integer(1, MAX_COUNT),
    )
    .option(
      "--image-size <n>",
      "width and height in pixels of the images of a DINOv2 or DINOv3 encoder (default: that of its preprocessing)",
      integer(1, MAX_IMAGE_SIZE),
    )
    .option(
      "--shard-mb <n>",
      "maximum size of a data file in megabytes of 10^6 bytes (default: 1 GiB)",
      integer(1, MAX_SHARD_MB),
    );
}

function addAdapterOptions(command: Command): void {
  command
    .optionsGroup("Adapter settings that files do not contain (a file that contradicts them is rejected):")
    .option("--adapter-states <k>", "number of the encoder's last states that are injected", integer(1, MAX_COUNT))
    .option("--adapter-start <layer>", "first decoder layer with the perceptual token", integer(0, MAX_COUNT))
    .option("--adapter-end <layer>", "decoder layer after the last one that receives a state", integer(1, MAX_COUNT))
    .addOption(
      new Option("--perception-sees <what>", "what the perceptual token attends to (default: everything)").choices([
        "everything",
        "itself",
      ]),
    );
}
