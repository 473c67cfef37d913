import { type Command, InvalidArgumentError, Option } from "commander";
import type { TrustOptions } from "../../pipeline.js";
import { parseShard, type ShardFlag } from "../bulk/shard.js";
import { type OnExisting, onExisting, type SidecarForm, sidecarForms, type XmpForm } from "../bulk/sidecar-forms.js";
import { STANDARD_INPUT } from "../standard-input.js";
import { concurrencyOption } from "./concurrency-option.js";
import { type ModalityFlags, modalityOption } from "./modality-option.js";
import { each, integer, number, someText } from "./option-values.js";

/** The options that `caption` and `vqa` share, except those of generation. */
export interface AnswerFlags extends ModalityFlags {
  readonly adapter?: string;
  readonly json?: true;
  readonly output?: string;
  readonly concurrency?: number;
  readonly dryRun?: true;
  readonly include?: string[];
  readonly exclude?: string[];
  readonly column?: string;
  readonly allowHost?: string[];
  readonly null?: true;
  readonly shard?: ShardFlag;
  readonly sidecar?: SidecarForm;
  /** Only `caption` has it. */
  readonly xmp?: XmpForm;
  readonly onExisting?: OnExisting;
  readonly samplesPerTar?: number;
  readonly scores?: true;
  readonly stream?: true;
  readonly refuseUnfamiliar?: true;
  readonly minConfidence?: number;
  readonly abstention?: string;
  readonly mediaGain?: true;
}

/** The trust options for the library. */
export function trustOptions({ refuseUnfamiliar, minConfidence, abstention, mediaGain }: AnswerFlags): TrustOptions {
  return { refuseUnfamiliar, minConfidence, abstention, mediaGain };
}

/** The part of a command's help that is about several files. */
export const manyFiles = `
FILES are images, audio files and videos, together if the model accepts them. They may also be:
  photos                      a folder: all media in it and below it, except hidden ones
  'photos/**/*.jpg'           a pattern; braces such as {00..99} are expanded, too
  @list.txt, @-               a list of such names, one per line or ended by NUL, in a file or on standard input
  shard-{000..099}.tar        WebDataset shards; the .json member of a sample is copied to its answer
  photos.csv                  a column with paths (--column); the other columns are copied to the answers
  train-*.parquet             the same, or a column with media, such as a data set of Hugging Face; this needs the
                              packages hyparquet and, for compression with ZSTD or LZ4, hyparquet-compressors
  s3://bucket/photos/         all media below a name in S3; all of the above may be in S3, too. This needs the package
                              @aws-sdk/client-s3, which looks for credentials, AWS_REGION and AWS_ENDPOINT_URL_S3
  https://example.org/a.jpg   a URL, also in lists, tables and questions; its host must be named with --allow-host

Answers are written in the order of the files, many of which are in progress at the same time (--concurrency). With
--json (or --jsonl), the command prints one line of JSON per file. If a file fails, its line contains the error, the
other files are still processed, and the exit code is 1. Progress is reported on standard error.

With --output, the answers go to a file, and the same command resumes an interrupted run: it skips files that already
have an answer and tries failed files again. The extension of the name determines the form:
  captions.jsonl              lines of JSON (any other extension, too)
  captions.csv                CSV
  captions.parquet            Parquet, made from captions.parquet.jsonl at the end; needs the package hyparquet-writer
  s3://bucket/captions.jsonl  one of the above, uploaded at the end and every five minutes (Parquet: at the end)
  out-%06d.tar                WebDataset shards with the members of each sample, .txt and .json
  captions --sidecar txt      a file per medium below the folder captions; beside the media without --output

With --shard i/n, the command processes every n-th file or tar file, from the i-th on, counted from 1, and the output
captions.jsonl becomes captions-0000i-of-0000n.jsonl; \`epalm merge\` joins the parts. With --shard n, the number is
JOB_COMPLETION_INDEX, which Kubernetes counts from 0.`;

/** Adds the argument for the files and the options for the output. */
export function addAnswerOptions(command: Command, files: "<files...>" | "[files...]"): Command {
  return command
    .argument(
      files,
      "images, audio files, videos, folders, URLs, lists, tar, CSV and Parquet files; - reads standard input",
      collectFile,
    )
    .addOption(modalityOption("how to interpret the files (default: by their content)"))
    .option("--adapter <name>", "adapter to use (default: the first one trained for the task and the modality)")
    .option("--json", "print one line of JSON per file")
    .addOption(new Option("--jsonl", "same as --json").implies({ json: true }))
    .addOption(
      new Option("-o, --output <file>", "append the answers to a file; skip files that it already answers")
        .argParser(someText)
        .implies({ json: true }),
    )
    .addOption(
      new Option(
        "--sidecar <form>",
        "write a file per medium, such as photo.txt, beside it or below the folder --output",
      ).choices(sidecarForms),
    )
    .addOption(
      new Option("--on-existing <what>", "what to do with existing sidecars or descriptions (default: skip)").choices(
        onExisting,
      ),
    )
    .option(
      "--samples-per-tar <n>",
      "with --output NAME-%06d.tar: samples in each file (default: 1000)",
      integer(1, MAX_SAMPLES),
    )
    .option(
      "--include <glob>",
      "files of folders and shards to use (default: by extension); may be repeated",
      each(someText),
    )
    .option("--exclude <glob>", "files of folders and shards to leave out; may be repeated", each(someText))
    .option("--column <name>", "column of CSV or Parquet files with the paths or media (default: file)", someText)
    .option(
      "--allow-host <host>",
      "host, or host:port, from which URLs may be fetched; may be repeated",
      each(someText),
    )
    .option("-0, --null", "names in lists end with a NUL character (default: detected)")
    .option("--shard <i/n>", "process only one of n parts of the files (default: all)", parseShard)
    .addOption(concurrencyOption("files in progress at the same time (default: 32)"))
    .option("--dry-run", "only list the files that would be processed")
    .option("--scores", "print the score before each text")
    .option("--refuse-unfamiliar", "fail for media that are unlike those of the adapter's training")
    .option("--min-confidence <x>", "replace answers with a smaller confidence, 0 to 1", number(0, 1))
    .addOption(
      new Option("--abstention <text>", "the text in their place (default: I do not know.)").argParser(someText),
    )
    .option("--media-gain", "with --json: also report what the medium contributes to each answer");
}

/** More samples than fit on a disk. */
const MAX_SAMPLES = 1_000_000_000;

function collectFile(file: string, previous: readonly string[] = []): string[] {
  if ([STANDARD_INPUT, "@-"].includes(file) && previous.some((one) => one === STANDARD_INPUT || one === "@-")) {
    throw new InvalidArgumentError("Standard input can be given only once.");
  }
  return [...previous, file];
}
