import { existsSync } from "node:fs";
import { basename } from "node:path";
import type { GivenSettings } from "../../adapter/adapter-file.js";
import type { Pooling } from "../../backbones/backbone.js";
import { EpalmError, unexpected } from "../../core/errors.js";
import type { Precision } from "../../core/precision.js";
import { type HubOptions, resolveFolder } from "../../hub/resolve-folder.js";
import { TOKENIZER_FILES } from "../../hub/select-files.js";
import type { EncoderOptions, SourceReference } from "../../model/build-options.js";
import { openModelFolder } from "../../model/model-folder.js";
import { separateTokenizer } from "../../model/vlm/nanovlm.js";
import type { CliContext } from "../context.js";
import type { AdapterFlag } from "../options/adapter-flag.js";
import { namingFlags } from "../options/naming-flags.js";
import { givenOnly } from "../options/option-values.js";
import { describeModel } from "../output/describe-model.js";
import { downloadReporter } from "../output/download-reporter.js";
import { formatModel } from "../output/format-model.js";
import { note, print } from "../output/output.js";
import { buildInThread } from "./build-thread.js";

export interface BuildFlags {
  readonly encoder?: string;
  readonly imageEncoder?: string;
  readonly audioEncoder?: string;
  readonly videoEncoder?: string;
  readonly frames?: number;
  readonly decoder?: string;
  readonly vlm?: string;
  readonly adapter?: AdapterFlag[];
  readonly output: string;
  readonly name?: string;
  readonly precision: Precision;
  readonly encoderPrecision?: Precision;
  readonly decoderPrecision?: Precision;
  readonly reduceRange?: true;
  readonly preprocessing: "source" | "published";
  readonly heads?: number;
  readonly imageSize?: number;
  readonly pooling?: Pooling;
  readonly shardMb?: number;
  readonly adapterStates?: number;
  readonly adapterStart?: number;
  readonly adapterEnd?: number;
  readonly perceptionSees?: "everything" | "itself";
  readonly offline?: true;
  readonly json?: true;
}

const BYTES_PER_MB = 1_000_000;

/** `epalm build` creates a model folder from public checkpoints. */
export async function build(flags: BuildFlags, { environment, signal }: CliContext): Promise<void> {
  refuseBeforeWork(flags);
  const hub = { ...environment.hub, offline: flags.offline, signal };
  const common = {
    output: flags.output,
    name: flags.name,
    adapters: (flags.adapter ?? []).map((adapter) => ({ ...adapter, settings: adapterSettings(flags) })),
    reduceRange: flags.reduceRange,
    shardBytes: flags.shardMb === undefined ? undefined : flags.shardMb * BYTES_PER_MB,
    onStage: (stage: string) => note(`building ${stage}`),
  };
  const backbones =
    flags.vlm === undefined ? await givenBackbones(flags, hub) : await givenModel(flags.vlm, flags, hub);
  try {
    await buildInThread({ ...common, ...backbones }, signal);
  } catch (error) {
    throw namingBuildFlag(error);
  }
  const model = await describeModel(await openModelFolder(flags.output, { checksums: false }));
  print(flags.json ? JSON.stringify(model) : formatModel(model));
}

/** A whole model, and encoders of further modalities. */
async function givenModel(vlm: string, flags: BuildFlags, hub: HubOptions) {
  const source = await resolveSource(vlm, hub);
  const tokenizer = separateTokenizer(source.path);
  return {
    vlm: {
      ...source,
      encoderPrecision: flags.encoderPrecision ?? flags.precision,
      decoderPrecision: flags.decoderPrecision ?? flags.precision,
      ...(tokenizer === undefined ? {} : { tokenizer: await resolveTokenizer(tokenizer, hub) }),
    },
    otherEncoders: await givenEncoders(flags, hub),
  };
}

/** The tokenizer of a model whose repository has none. */
async function resolveTokenizer(id: string, hub: HubOptions): Promise<string> {
  return resolveFolder(id, { ...hub, files: TOKENIZER_FILES, onProgress: downloadReporter(id) });
}

async function givenBackbones(flags: BuildFlags, hub: HubOptions) {
  if (flags.decoder === undefined) {
    throw new EpalmError("invalid_option", "--decoder: expected a decoder, or --vlm with a whole model");
  }
  const [encoder, ...otherEncoders] = await givenEncoders(flags, hub);
  if (!encoder) {
    throw new EpalmError(
      "invalid_option",
      "--encoder: expected at least one encoder, from --encoder, --image-encoder, --audio-encoder or --video-encoder",
    );
  }
  const decoder = await resolveSource(flags.decoder, hub);
  return {
    encoder,
    otherEncoders,
    decoder: { ...decoder, precision: flags.decoderPrecision ?? flags.precision },
  };
}

/** The given encoders in a fixed order; the first one is the default for adapters without a modality. */
async function givenEncoders(flags: BuildFlags, hub: HubOptions): Promise<readonly EncoderOptions[]> {
  const { frames, videoEncoder, imageEncoder, imageSize } = flags;
  const ofVideo = flags.encoder === undefined && imageEncoder === undefined ? { frames, imageSize } : { frames };
  const given = [
    {
      path: flags.encoder,
      ...(imageEncoder === undefined ? { imageSize } : {}),
      ...(videoEncoder === undefined ? { frames } : {}),
    },
    { path: imageEncoder, modality: "image", imageSize },
    { path: flags.audioEncoder, modality: "audio" },
    { path: videoEncoder, modality: "video", ...ofVideo },
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
      pooling: flags.pooling,
    });
  }
  return encoders;
}

function adapterSettings(flags: BuildFlags): GivenSettings {
  return givenOnly<Required<GivenSettings>>({
    injectedStates: flags.adapterStates,
    startLayer: flags.adapterStart,
    endLayer: flags.adapterEnd,
    perceptionSees: flags.perceptionSees,
  });
}

/** The flags by the names of the settings, which the library's messages use. */
const adapterFlags: ReadonlyMap<string, string> = new Map(
  Object.entries({
    injectedStates: "--adapter-states",
    startLayer: "--adapter-start",
    endLayer: "--adapter-end",
    perceptionSees: "--perception-sees",
  } satisfies Required<Record<keyof GivenSettings, string>>),
);

/** A setting that an adapter file does not contain, or that differs from the file. */
const SETTING = /: (?:setting )?'(\w+)': (?=the file )/;

/**
 * Rewrites an error about an option of an encoder, or about an adapter setting that the options can provide, to name
 * the flag as the user typed it. Other errors are returned unchanged.
 */
function namingBuildFlag(error: unknown): unknown {
  if (!(error instanceof EpalmError) || error.code !== "invalid_adapter") {
    return namingFlags(
      error,
      new Map([
        ["frames", "--frames"],
        ["heads", "--heads"],
        ["imageSize", "--image-size"],
        ["pooling", "--pooling"],
      ]),
    );
  }
  const [found = "", setting = ""] = SETTING.exec(error.message) ?? [];
  const flag = adapterFlags.get(setting);
  if (flag === undefined) return error;
  return new EpalmError(error.code, error.message.replace(found, `: ${flag}: `), { cause: error });
}

/** Finds errors that the library would find only after downloading and writing gigabytes. */
function refuseBeforeWork({ output, adapter = [], ...flags }: BuildFlags): void {
  for (const [flag, value] of Object.entries(replacedByVlm(flags))) {
    if (flags.vlm === undefined || value === undefined) continue;
    throw unexpected("invalid_option", flag, "nothing together with --vlm, a whole model", value);
  }
  if (existsSync(output)) throw new EpalmError("invalid_option", `--output: ${output} already exists`);
  const missing = adapter.find(({ path }) => !existsSync(path));
  if (missing) {
    throw new EpalmError("not_found", `--adapter ${missing.name}: ${missing.path}: no such file`);
  }
}

/** Flags that describe what a whole model already contains. */
function replacedByVlm(flags: Pick<BuildFlags, "encoder" | "imageEncoder" | "decoder" | "heads" | "pooling">) {
  const { encoder, imageEncoder, decoder, heads, pooling } = flags;
  return {
    "--encoder": encoder,
    "--image-encoder": imageEncoder,
    "--decoder": decoder,
    "--heads": heads,
    "--pooling": pooling,
  };
}

async function resolveSource(given: string, options: HubOptions): Promise<SourceReference> {
  const path = await resolveFolder(given, { ...options, onProgress: downloadReporter(given) });
  // The folder of a snapshot is named after the commit.
  return path === given ? { path, given } : { path, given, revision: basename(path) };
}
