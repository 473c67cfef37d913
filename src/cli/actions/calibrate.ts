import { type CalibrationReport, calibrateModel, modalitiesOf, readEvaluationData, readManifest } from "../../index.js";
import type { CliContext } from "../context.js";
import type { DataSetFlags } from "../options/data-set-options.js";
import { chosenDevices, type DeviceFlags } from "../options/device-options.js";
import { formatCount, formatTable, note, print } from "../output/output.js";

export interface CalibrateFlags extends DataSetFlags, DeviceFlags {
  readonly data: string;
  readonly adapter?: string;
  readonly skipBad?: true;
  readonly limit?: number;
  readonly json?: true;
  readonly threads?: number;
}

/** `epalm calibrate` adds familiarity and confidence to the adapters of a model folder. */
export async function calibrateCommand(model: string, flags: CalibrateFlags, { signal }: CliContext): Promise<void> {
  const { data: path, format, annotations, media, split, list, imagePattern, skipBad, limit, adapter, threads } = flags;
  const source = { path, format, annotations, media, split, list, imagePattern };
  const modalities = modalitiesOf(readManifest(model));
  const { examples, skipped } = await readEvaluationData(source, { skipBad, limit, modalities, signal });
  if (skipped.length > 0) note(`invalid examples skipped: ${formatCount(skipped.length)}`);
  for (const { where, cause } of skipped) note(`  ${where}: ${cause}`);
  const reports = await calibrateModel(model, examples, {
    ...(adapter === undefined ? {} : { adapters: [adapter] }),
    threads,
    device: chosenDevices(flags),
    signal,
    onAdapter: (name, report) => {
      if (!flags.json) print(`adapter ${name}\n${formatCalibration(report)}`);
    },
  });
  if (flags.json) print(JSON.stringify(reports));
}

/** A calibration as text: on what familiarity is measured, calibration errors, and accuracy by coverage. */
export function formatCalibration({ familiarity, confidence, nearDuplicates, notes }: CalibrationReport): string {
  const lines = notes.map((text) => `  ${text}`);
  if (familiarity) {
    const from = familiarity.from === "validation" ? "validation media" : "training media, by cross-fitting";
    lines.push(`  familiarity: measured on ${formatCount(familiarity.media)} ${from}`);
  }
  for (const [kind, { kind: map, examples, before, after, coverage }] of Object.entries(confidence)) {
    const errors = `calibration error ${before.toFixed(3)} before, ${after.toFixed(3)} after`;
    lines.push(`  confidence of ${kind} (${map}, ${formatCount(examples)} examples): ${errors}`);
    // Most candidates are wrong by design, so that the accuracy of all of them says nothing.
    if (kind === "candidates") continue;
    const rows = coverage.filter((_, index) => index % 2 === 0);
    const table = formatTable([
      ["share given", ...rows.map((one) => `${Math.round(100 * one.coverage)} %`)],
      ["accuracy", ...rows.map(({ accuracy }) => accuracy.toFixed(3))],
      ["smallest confidence", ...rows.map((one) => one.confidence.toFixed(3))],
    ]);
    lines.push(table.replace(/^/gm, "    "));
  }
  if (nearDuplicates.length > 0) {
    const [{ validation, training } = { validation: "", training: "" }] = nearDuplicates;
    lines.push(
      `  ${formatCount(nearDuplicates.length)} validation media are almost the same as a training medium, ` +
        `such as ${validation} and ${training}: scores on them are too high`,
    );
  }
  return lines.join("\n");
}
