import { existsSync } from "node:fs";
import { basename } from "node:path";
import { type Command, Option } from "commander";
import type { GivenSettings } from "../../adapter/adapter-file.js";
import { MAX_FRAMES } from "../../backbones/config.js";
import { type HubOptions, resolveFolder } from "../../hub/resolve-folder.js";
import { EpalmError, openModelFolder } from "../../index.js";
import type { EncoderOptions, SourceReference } from "../../model/build-model.js";
import type { Precision } from "../../model/manifest.js";
import type { CliContext } from "../context.js";
import { type AdapterFlag, collectAdapter } from "../options/adapter-flag.js";
import { givenOnly, integer, someText } from "../options/option-values.js";
import { styleHeadings } from "../output/colours.js";
import { describeModel } from "../output/describe-model.js";
import { downloadReporter } from "../output/download-reporter.js";
import { formatModel } from "../output/format-model.js";
import { note, print } from "../output/output.js";
import { buildInThread } from "./build-thread.js";

interface BuildFlags {
  readonly encoder?: string;
  readonly imageEncoder?: string;
  readonly audioEncoder?: string;
  readonly videoEncoder?: string;
  readonly frames?: number;
  readonly decoder: string;
  readonly adapter?: AdapterFlag[];
  readonly output: string;
  readonly name?: string;
  readonly precision: Precision;
  readonly encoderPrecision?: Precision;
  readonly decoderPrecision?: Precision;
  readonly reduceRange?: true;
  readonly preprocessing: "source" | "published";
  readonly heads?: number;
  readonly shardMb?: number;
  readonly adapterStates?: number;
  readonly adapterStart?: number;
  readonly adapterEnd?: number;
  readonly perceptionSees?: "everything" | "itself";
  readonly offline?: true;
  readonly json?: true;
}

const precisions = ["fp32", "int8", "int4"] as const satisfies readonly Precision[];

/** Layers, states and heads of the largest public models are below; more is a slip of the finger. */
const MAX_COUNT = 1024;

const BYTES_PER_MB = 1_000_000;

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
    .option(
      "--video-encoder <encoder>",
      "of videos: a TimeSformer, or an encoder of pictures, over the frames",
    )
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
  command.addHelpText("after", styleHeadings(examples)).action((flags: BuildFlags) => build(flags, context));
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
    .option(
      "--adapter-states <k>",
      "how many of the encoder's last states are injected",
      integer(1, MAX_COUNT),
    )
    .option(
      "--adapter-start <layer>",
      "the first decoder layer that has the perceptual token",
      integer(0, MAX_COUNT),
    )
    .option(
      "--adapter-end <layer>",
      "the layer behind the last one that is injected into",
      integer(1, MAX_COUNT),
    )
    .addOption(
      new Option(
        "--perception-sees <what>",
        "what the perceptual token attends to (default: everything)",
      ).choices(["everything", "itself"]),
    );
}

async function build(flags: BuildFlags, { environment, signal }: CliContext): Promise<void> {
  refuseBeforeWork(flags);
  const hub = { ...environment.hub, offline: flags.offline, signal };
  const [encoder, ...otherEncoders] = await givenEncoders(flags, hub);
  const decoder = await resolveSource(flags.decoder, hub);
  const options = {
    output: flags.output,
    name: flags.name,
    encoder,
    otherEncoders,
    decoder: { ...decoder, precision: flags.decoderPrecision ?? flags.precision },
    adapters: (flags.adapter ?? []).map((adapter) => ({ ...adapter, settings: adapterSettings(flags) })),
    reduceRange: flags.reduceRange,
    shardBytes: flags.shardMb === undefined ? undefined : flags.shardMb * BYTES_PER_MB,
    onStage: (stage: string) => note(`building ${stage}`),
  };
  await buildInThread(options, signal);
  const model = await describeModel(await openModelFolder(flags.output, { checksums: false }));
  print(flags.json ? JSON.stringify(model) : formatModel(model));
}

/** In the order of their options; which is the first decides what adapters are for that do not say it. */
async function givenEncoders(
  flags: BuildFlags,
  hub: HubOptions,
): Promise<readonly [EncoderOptions, ...EncoderOptions[]]> {
  const { frames, videoEncoder } = flags;
  const given = [
    { path: flags.encoder, ...(videoEncoder === undefined ? { frames } : {}) },
    { path: flags.imageEncoder, modality: "image" },
    { path: flags.audioEncoder, modality: "audio" },
    { path: videoEncoder, modality: "video", frames },
  ] as const;
  const encoders: EncoderOptions[] = [];
  for (const { path, ...choices } of given) {
    if (path === undefined) continue;
    encoders.push({
      ...(await resolveSource(path, hub)),
      ...choices,
      precision: flags.encoderPrecision ?? flags.precision,
      preprocessing: flags.preprocessing,
      heads: flags.heads,
    });
  }
  const [first, ...others] = encoders;
  if (first) return [first, ...others];
  throw new EpalmError(
    "invalid_option",
    "--encoder: expected at least one encoder; --image-encoder, --audio-encoder and --video-encoder name one, too",
  );
}

function adapterSettings(flags: BuildFlags): GivenSettings {
  return givenOnly<Required<GivenSettings>>({
    injectedStates: flags.adapterStates,
    startLayer: flags.adapterStart,
    endLayer: flags.adapterEnd,
    perceptionSees: flags.perceptionSees,
  });
}

/** What the library would find out only after gigabytes were downloaded and written. */
function refuseBeforeWork({ output, adapter = [] }: BuildFlags): void {
  if (existsSync(output)) throw new EpalmError("invalid_option", `--output: ${output} exists already`);
  const missing = adapter.find(({ path }) => !existsSync(path));
  if (missing) {
    throw new EpalmError("not_found", `--adapter ${missing.name}: ${missing.path}: no such file`);
  }
}

async function resolveSource(given: string, options: HubOptions): Promise<SourceReference> {
  const path = await resolveFolder(given, { ...options, onProgress: downloadReporter(given) });
  // A snapshot's folder is named after its commit.
  return path === given ? { path, given } : { path, given, revision: basename(path) };
}
