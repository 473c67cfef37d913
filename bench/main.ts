import { mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { EpalmError, messageOf } from "../src/core/errors.js";
import { build } from "./build.js";
import { bulk } from "./bulk.js";
import { decoding } from "./decoding.js";
import { encoders } from "./encoders.js";
import { fedMaeAdapters } from "./fedmae/adapters.js";
import { fedMae } from "./fedmae/cost.js";
import { fedMaeModes } from "./fedmae/modes.js";
import { fedMaeRemedies } from "./fedmae/remedies.js";
import { hostileImages } from "./hostile-images.js";
import { latency } from "./latency.js";
import { llamaCpp } from "./llama-cpp.js";
import { logits } from "./logits.js";
import { describeMachine, machineTable } from "./machine.js";
import type { Context, Measurement } from "./measurement.js";
import { folderBytes } from "./models.js";
import { precision } from "./precision.js";
import { photographs, published } from "./published.js";
import { serve } from "./serve.js";
import { startup } from "./startup.js";
import { formatTable, type Table } from "./table.js";
import { training } from "./training.js";
import { vlm } from "./vlm.js";

/**
 * npm run bench -- [NAME ...] [--json FILE]
 *
 * Measures models with public shapes and random weights, and prints tables.
 */

const measurements: ReadonlyMap<string, Measurement> = new Map([
  ["startup", startup],
  ["build", build],
  ["latency", latency],
  ["decoding", decoding],
  ["logits", logits],
  ["llama-cpp", llamaCpp],
  ["training", training],
  ["fedmae", fedMae],
  ["fedmae-modes", fedMaeModes],
  ["fedmae-remedies", fedMaeRemedies],
  ["fedmae-adapters", fedMaeAdapters],
  ["serve", serve],
  ["bulk", bulk],
  ["encoders", encoders],
  ["precision", precision],
  ["photographs", photographs],
  ["published", published],
  ["vlm", vlm],
  ["hostile-images", hostileImages],
]);

const onlyByName = ["bulk", "published", "vlm", "fedmae-modes", "fedmae-remedies", "fedmae-adapters"];

const folder = process.env.EPALM_BENCH_FOLDER ?? join(tmpdir(), "epalm-bench");

function help(): string {
  const width = Math.max(...Array.from(measurements.keys(), (name) => name.length));
  return [
    "usage: npm run bench -- [NAME ...] [--json FILE]",
    "",
    ...Array.from(measurements, ([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`),
    "",
    "Without a NAME, all of them run except published and vlm, which take 20 and 5 GB of disk space, and bulk,",
    "fedmae-modes, fedmae-remedies and fedmae-adapters, which take up to several hours. --json FILE also writes all numbers unrounded.",
    "The first run builds the models (about 5 GB) and keeps them in the folder that EPALM_BENCH_FOLDER names,",
    `or by default in ${folder}`,
  ].join("\n");
}

function selected(names: readonly string[]): [string, Measurement][] {
  if (names.length === 0) return Array.from(measurements).filter(([name]) => !onlyByName.includes(name));
  return names.map((name) => {
    const measurement = measurements.get(name);
    if (measurement) return [name, measurement];
    const known = Array.from(measurements.keys()).join(", ");
    throw new EpalmError("invalid_option", `NAME: expected one of ${known}, got '${name}'`);
  });
}

async function main(): Promise<void> {
  const options = { json: { type: "string" }, help: { type: "boolean", short: "h" } } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  if (values.help) {
    console.log(help());
    return;
  }
  const chosen = selected(positionals);
  mkdirSync(folder, { recursive: true });
  const machine = await describeMachine();
  const print = (table: Table) => console.log(`${formatTable(table)}\n`);
  print(machineTable(machine));
  const context: Context = { machine, folder, say: (what) => console.error(what) };
  const results: Record<string, readonly Table[]> = {};
  for (const [name, measurement] of chosen) {
    const tables = await measurement.run(context);
    for (const table of tables) print(table);
    results[name] = tables;
  }
  console.error(`models are kept in ${folder}: ${(folderBytes(folder) / 1e9).toFixed(1)} GB`);
  if (values.json !== undefined) {
    writeFileSync(values.json, `${JSON.stringify({ machine, results }, undefined, 2)}\n`);
  }
}

try {
  await main();
} catch (error) {
  console.error(`bench: ${messageOf(error)}`);
  process.exitCode = 1;
}
