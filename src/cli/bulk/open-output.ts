import { EpalmError, unexpected } from "../../core/errors.js";
import type { AnswerFlags } from "../options/answer-options.js";
import { delimiterOf, isCsv } from "./csv-media.js";
import { CsvRecords } from "./csv-records.js";
import type { RunInputs } from "./inputs.js";
import { jsonLines } from "./json-lines.js";
import { isParquet } from "./parquet/parquet-file.js";
import { ParquetOutput } from "./parquet/parquet-output.js";
import { printedJson, TextOutput } from "./printed-output.js";
import { RecordFile, type RecordFormat } from "./record-file.js";
import { isS3 } from "./remote/s3-name.js";
import { localCopyOf, S3Output } from "./remote/s3-output.js";
import { isTar } from "./run-medium.js";
import type { RunOutput } from "./run-output.js";
import { partName } from "./shard.js";
import { SidecarOutput } from "./sidecar-output.js";
import { TarOutput } from "./tar-output.js";
import { XmpOutput } from "./xmp-output.js";

/** Samples per tar file; a shard of photographs then has a few hundred megabytes. */
const SAMPLES_PER_TAR = 1000;

/** How the answers of a run are written. */
export type OutputForm = "printed" | "records" | "sidecars" | "tar" | "xmp";

export function outputForm({ sidecar, output, xmp }: AnswerFlags): OutputForm {
  if (sidecar) return "sidecars";
  if (output === undefined) return xmp ? "xmp" : "printed";
  return isTar(output) ? "tar" : "records";
}

/** The path of the output, which is a part if the run is one of several shards; undefined for standard output. */
export function outputPath({ shard }: RunInputs, flags: AnswerFlags): string | undefined {
  const { output } = flags;
  return output === undefined || !shard || flags.sidecar ? output : partName(output, shard);
}

/**
 * The path that a run locks. Sidecars beside their media are locked by the first argument, those of several shards
 * separately.
 */
export function lockedPath(inputs: RunInputs, flags: AnswerFlags): string | undefined {
  const extension = flags.sidecar ?? (outputForm(flags) === "xmp" ? "xmp" : undefined);
  if (extension === undefined) {
    const path = outputPath(inputs, flags);
    return path !== undefined && isS3(path) ? localCopyOf(path) : path;
  }
  const path = flags.output ?? inputs.names[0] ?? "";
  return `${inputs.shard ? partName(path, inputs.shard) : path}.${extension}`;
}

export function recordFormat(path: string): RecordFormat {
  return isCsv(path) ? new CsvRecords(delimiterOf(path)) : jsonLines;
}

/** Opens the outputs that the flags ask for. @throws invalid_option */
export async function openOutput(
  inputs: RunInputs,
  flags: AnswerFlags,
  model: string,
  isReadOnly = false,
): Promise<RunOutput> {
  const { xmp: form, onExisting = "skip" } = flags;
  if (flags.onExisting && !flags.sidecar && !form) throw needs("--on-existing", "--sidecar or --xmp");
  if (!form) return openRecords(inputs, flags, model, isReadOnly);
  const records = outputForm(flags) === "xmp" ? undefined : await openRecords(inputs, flags, model, isReadOnly);
  return XmpOutput.open({ form, onExisting, records });
}

/** Opens the output whose form follows from the flags and the extension of `--output`. @throws invalid_option */
async function openRecords(
  inputs: RunInputs,
  flags: AnswerFlags,
  model: string,
  isReadOnly: boolean,
): Promise<RunOutput> {
  const { json = false, scores = false, stream: streams = false, sidecar, onExisting = "skip" } = flags;
  const path = outputPath(inputs, flags);
  if (path !== undefined && isS3(path) && outputForm(flags) !== "records") {
    throw unexpected("invalid_option", "--output", "a local name for sidecars and tar files", path);
  }
  if (sidecar) return new SidecarOutput({ form: sidecar, folder: path, onExisting, scores });
  if (flags.samplesPerTar && outputForm(flags) !== "tar") throw needs("--samples-per-tar", "--output NAME.tar");
  if (path === undefined) {
    if (json) return printedJson;
    const prefix = inputs.isOne ? "none" : inputs.hasOwnQuestions ? "path and question" : "path";
    return new TextOutput({ prefix, scores, streams });
  }
  const samplesPerTar = flags.samplesPerTar ?? SAMPLES_PER_TAR;
  if (/gz$/i.test(path))
    throw unexpected("invalid_option", "--output", "a name without compression, such as out-%06d.tar", path);
  if (outputForm(flags) === "tar") return TarOutput.open(path, { model, samplesPerTar, scores, isReadOnly });
  const options = { model, isReadOnly, retried: inputs.retried.bind(inputs) };
  const openLocal = (local: string): Promise<RunOutput> =>
    isParquet(local) ? ParquetOutput.open(local, options) : RecordFile.open(local, recordFormat(local), options);
  if (!isS3(path)) return openLocal(path);
  return S3Output.open(path, { isReadOnly, isAppended: !isParquet(path), openLocal });
}

function needs(flag: string, other: string): EpalmError {
  return new EpalmError("invalid_option", `${flag}: expected ${other} with it`);
}
