import { closeSync, openSync, writeSync } from "node:fs";
import { whileLocked } from "../../core/files/lock-path.js";
import {
  adapterModality,
  type Breakdown,
  breakdown,
  type Evaluation,
  evaluateModel,
  type MeanInterval,
  modalitiesOf,
  namedScores,
  readAdapter,
  readEvaluationData,
  readManifest,
} from "../../index.js";
import type { Example } from "../../training/data/example.js";
import type { ReadOptions } from "../../training/data/read-data-set.js";
import type { CliContext } from "../context.js";
import type { DataSetFlags } from "../options/data-set-options.js";
import { generationOptions, namingFlag } from "../options/generation-flags.js";
import { checkModality, type ModalityFlags } from "../options/modality-option.js";
import type { ModelFlags } from "../options/model-option.js";
import { formatCount, formatTable, note, print } from "../output/output.js";
import { withModel } from "./with-model.js";

export interface EvalFlags extends ModelFlags, ModalityFlags, DataSetFlags {
  readonly adapter?: string;
  readonly adapterFile?: string;
  readonly blind?: true;
  readonly skipBad?: true;
  readonly limit?: number;
  readonly concurrency?: number;
  readonly predictions?: string;
  readonly json?: true;
}

/** The name under which the adapter of `--adapter-file` is loaded. */
const FROM_FILE = "from file";

/** `epalm eval` scores a model folder on a data set. */
export async function evalCommand(path: string, flags: EvalFlags, context: CliContext): Promise<void> {
  const { format, annotations, media, split, list, imagePattern, skipBad, limit } = flags;
  const source = { path, format, annotations, media, split, list, imagePattern };
  const modalities = takenModalities(flags);
  const data = await readEvaluationData(source, { skipBad, limit, modalities, signal: context.signal });
  if (data.skipped.length > 0) note(`invalid examples skipped: ${formatCount(data.skipped.length)}`);
  for (const { where, cause } of data.skipped) note(`  ${where}: ${cause}`);
  const { scores, predictions } = await whileLocked(flags.predictions, () => evaluation(data.examples, flags, context));
  const named = namedScores(scores);
  const parts = breakdown(predictions);
  if (flags.json) {
    const { overall: intervals, ...details } = parts;
    const counts = { examples: data.examples.length, skipped: data.skipped.length };
    print(JSON.stringify({ ...counts, scores: named, intervals, ...details }));
  } else {
    const rows = Object.entries(named).map(([name, value]) => [name, value.toFixed(4), rangeOf(parts.overall[name])]);
    print(formatTable([["examples", formatCount(data.examples.length)], ...rows]));
    if (parts.groups.length > 0) print(`\n${groupTable(parts)}`);
  }
}

/** The 95 % confidence interval, if one was computed. */
function rangeOf(interval: MeanInterval | undefined): string {
  return interval ? `(${interval.low.toFixed(4)} to ${interval.high.toFixed(4)})` : "";
}

function groupTable({ overall, groups }: Breakdown): string {
  const names = Object.keys(overall);
  const cellOf = (interval: MeanInterval | undefined) =>
    interval ? `${interval.mean.toFixed(4)} ${rangeOf(interval)}, n ${formatCount(interval.examples)}` : "";
  return formatTable([
    ["group", ...names],
    ...groups.map(({ group, scores }) => [group, ...names.map((name) => cellOf(scores[name]))]),
  ]);
}

function evaluation(examples: readonly Example[], flags: EvalFlags, context: CliContext): Promise<Evaluation> {
  return withModel(flags, context, async (model) => {
    const adapter = flags.adapterFile === undefined ? flags.adapter : FROM_FILE;
    if (flags.adapterFile !== undefined)
      await model.useAdapter(FROM_FILE, await readAdapter(flags.adapterFile), examples[0]?.media.modality);
    const file = flags.predictions === undefined ? undefined : openSync(flags.predictions, "w");
    try {
      return await evaluateModel(model, examples, {
        adapter,
        textOnly: flags.blind,
        generation: generationOptions(flags),
        concurrency: flags.concurrency,
        signal: context.signal,
        onPrediction: (prediction) => {
          if (file !== undefined) writeSync(file, `${JSON.stringify(prediction)}\n`);
        },
      });
    } catch (error) {
      throw namingFlag(error);
    } finally {
      if (file !== undefined) closeSync(file);
    }
  });
}

/** The modalities that the examples may have; only one if a single adapter is used. */
function takenModalities({ model, modality, adapter, adapterFile }: EvalFlags): ReadOptions["modalities"] {
  const manifest = readManifest(model);
  const taken = modalitiesOf(manifest);
  checkModality({ modality }, { modalities: taken });
  if (modality !== undefined) return [modality];
  if (adapterFile !== undefined) return taken.length === 1 ? taken : "one";
  const entry = adapter === undefined ? undefined : manifest.adapters[adapter];
  return entry ? [adapterModality(manifest, entry)] : taken;
}
