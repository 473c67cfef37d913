import type { AnswerFlags } from "../options/answer-options.js";
import { isCsv } from "./csv-media.js";
import { CsvRecords } from "./csv-records.js";
import type { RunInputs } from "./inputs.js";
import { jsonLines } from "./json-lines.js";
import { printedJson, TextOutput } from "./printed-output.js";
import { RecordFile } from "./record-file.js";
import type { RunOutput } from "./run-output.js";
import { partName } from "./shard.js";

/** The path of the output, which is a part if the run is one of several shards; undefined for standard output. */
export function outputPath({ shard }: RunInputs, { output }: AnswerFlags): string | undefined {
  return output === undefined || !shard ? output : partName(output, shard);
}

/** Opens the output whose form follows from the flags and the extension of `--output`. @throws invalid_option */
export async function openOutput(
  inputs: RunInputs,
  flags: AnswerFlags,
  model: string,
  isReadOnly = false,
): Promise<RunOutput> {
  const { json = false, scores = false, stream: streams = false } = flags;
  const path = outputPath(inputs, flags);
  const options = { model, isReadOnly, retried: inputs.retried.bind(inputs) };
  if (path !== undefined) return RecordFile.open(path, isCsv(path) ? new CsvRecords() : jsonLines, options);
  if (json) return printedJson;
  const prefix = inputs.isOne ? "none" : inputs.hasOwnQuestions ? "path and question" : "path";
  return new TextOutput({ prefix, scores, streams });
}
