import { rmSync } from "node:fs";
import { join } from "node:path";
import { median } from "../src/cli/measure/median.js";
import type { Precision } from "../src/core/precision.js";
import { openSafetensors } from "../src/formats/safetensors.js";
import { elementCount } from "../src/tensor/tensor.js";
import { type Cost, runInFreshProcess } from "./fresh-process.js";
import { type Context, type Measurement, precisions } from "./measurement.js";
import { buildOptions, folderBytes, modelFolder, sourceFolder } from "./models.js";
import type { Table } from "./table.js";

/** Opening is fast, and its time depends on how much of the files is in the page cache. */
const OPEN_ROUNDS = 3;

/** Decimal megabytes. */
const MB = 1e6;

export const build: Measurement = {
  summary: "time and memory of building and of opening ViT-B/16 + opt-125m, in each precision",
  async run(context) {
    const weightBytes = float32Bytes(sourceFolder(context, "vit")) + float32Bytes(sourceFolder(context, "opt"));
    return [await buildTable(context, weightBytes), await openTable(context)];
  },
};

async function buildTable(context: Context, weightBytes: number): Promise<Table> {
  const rows: Table["rows"][number][] = [];
  for (const precision of precisions) {
    context.say(`measuring: build, ${precision}`);
    const { milliseconds, peakBytes, diskBytes } = await measureBuild(context, precision);
    rows.push({
      precision,
      seconds: milliseconds / 1000,
      peakMegabytes: peakBytes / MB,
      peakRatio: peakBytes / weightBytes,
      diskMegabytes: diskBytes / MB,
    });
  }
  return {
    title: "build: ViT-B/16 + opt-125m, each once in a fresh process",
    columns: [
      { key: "precision", title: "precision" },
      { key: "seconds", title: "s", digits: 1 },
      { key: "peakMegabytes", title: "peak MB" },
      { key: "peakRatio", title: "of fp32 weights", digits: 2 },
      { key: "diskMegabytes", title: "on disk MB" },
    ],
    rows,
    notes: [
      `peak: resident memory of the whole process; fp32 weights of both: ${(weightBytes / MB).toFixed(0)} MB; goal: less than 1.6`,
    ],
  };
}

async function measureBuild(context: Context, precision: Precision): Promise<Cost & { readonly diskBytes: number }> {
  const output = join(context.folder, `measured-${precision}`);
  rmSync(output, { recursive: true, force: true });
  try {
    const options = buildOptions(context, "opt", precision, output);
    const cost = await runInFreshProcess({ kind: "build", options });
    return { ...cost, diskBytes: folderBytes(output) };
  } finally {
    rmSync(output, { recursive: true, force: true });
  }
}

/** How a server opens a model, and how a short-lived process may open it. */
const waysToOpen = [
  { way: "checked, packed", options: {} },
  { way: "unchecked, mapped", options: { checksums: false, mapWeights: true } },
] as const;

async function openTable(context: Context): Promise<Table> {
  const cases = precisions.flatMap((precision) =>
    waysToOpen.map(({ way, options }) => ({ precision, way, options, costs: [] as Cost[] })),
  );
  for (let round = 0; round < OPEN_ROUNDS; round++) {
    context.say(`measuring: open, round ${round + 1} of ${OPEN_ROUNDS}`);
    for (const { precision, options, costs } of cases) {
      const path = await modelFolder(context, "opt", precision);
      costs.push(await runInFreshProcess({ kind: "load", path, options }));
    }
  }
  return {
    title: `open: the same models, load() in a fresh process, medians of ${OPEN_ROUNDS}`,
    columns: [
      { key: "precision", title: "precision" },
      { key: "way", title: "way" },
      { key: "milliseconds", title: "ms" },
      { key: "peakMegabytes", title: "peak MB" },
      { key: "residentMegabytes", title: "then MB" },
    ],
    rows: cases.map(({ precision, way, costs }) => ({
      precision,
      way,
      milliseconds: median(costs.map(({ milliseconds }) => milliseconds)),
      peakMegabytes: median(costs.map(({ peakBytes }) => peakBytes)) / MB,
      residentMegabytes: median(costs.map(({ residentBytes }) => residentBytes)) / MB,
    })),
    notes: ["checked: sha256 of every file; mapped: weights stay in their files, and only those that were read count"],
  };
}

/** Size in bytes of a checkpoint's weights as float32. */
function float32Bytes(folder: string): number {
  const checkpoint = openSafetensors(join(folder, "model.safetensors"));
  checkpoint.close();
  return Array.from(checkpoint.tensors.values(), ({ shape }) => 4 * elementCount(shape)).reduce((a, b) => a + b, 0);
}
