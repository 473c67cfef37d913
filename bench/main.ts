import { mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { EpalmError, messageOf, unexpected } from "../src/core/errors.js";
import { build } from "./build.js";
import { bulk } from "./bulk.js";
import { decoding } from "./decoding.js";
import { device } from "./device.js";
import { encoders } from "./encoders.js";
import { fedMaeAdapters } from "./fedmae/adapters.js";
import { fedMae } from "./fedmae/cost.js";
import { fedMaeFlower } from "./fedmae/flower.js";
import { fedMaeModes } from "./fedmae/modes.js";
import { fedMaeRemedies } from "./fedmae/remedies.js";
import { hostileImages } from "./hostile-images.js";
import { latency } from "./latency.js";
import { llamaCpp } from "./llama-cpp.js";
import { logits } from "./logits.js";
import { describeMachine, machineTable } from "./machine.js";
import type { Context, Measurement } from "./measurement.js";
import { folderBytes } from "./models.js";
import { packDevice } from "./pack-device.js";
import { precision } from "./precision.js";
import { products } from "./products.js";
import { photographs, published } from "./published.js";
import { compareRun, readRun, storedMeasurements, storeRatios } from "./regress.js";
import { scaling } from "./scaling.js";
import { serve } from "./serve.js";
import { startup } from "./startup.js";
import { formatTable, type Table } from "./table.js";
import { training } from "./training.js";
import { transformers } from "./transformers.js";
import { vlm } from "./vlm.js";

/**
 * npm run bench -- [NAME ...] [--json FILE] [--rounds N] [--minutes N]
 * npm run bench -- device --pack FILE
 * npm run bench -- regress [NAME ...] [--results FILE] [--store]
 *
 * Measures models with public shapes and random weights, and prints tables.
 */

const measurements: ReadonlyMap<string, Measurement> = new Map([
  ["startup", startup],
  ["build", build],
  ["latency", latency],
  ["decoding", decoding],
  ["products", products],
  ["logits", logits],
  ["llama-cpp", llamaCpp],
  ["transformers", transformers],
  ["device", device],
  ["training", training],
  ["scaling", scaling],
  ["fedmae", fedMae],
  ["fedmae-flower", fedMaeFlower],
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

const onlyByName = [
  "bulk",
  "device",
  "scaling",
  "published",
  "vlm",
  "fedmae-modes",
  "fedmae-remedies",
  "fedmae-adapters",
];

const folder = process.env.EPALM_BENCH_FOLDER ?? join(tmpdir(), "epalm-bench");

function help(): string {
  const width = Math.max(...Array.from(measurements.keys(), (name) => name.length));
  return [
    "usage: npm run bench -- [NAME ...] [--json FILE] [--rounds N] [--minutes N]",
    "       npm run bench -- device --pack FILE",
    "       npm run bench -- regress [NAME ...] [--results FILE] [--store]",
    "",
    ...Array.from(measurements, ([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`),
    "",
    "Without a NAME, all of them run except scaling, published and vlm, which take 20, 20 and 5 GB of disk space, device,",
    "and bulk, fedmae-modes, fedmae-remedies and fedmae-adapters, which take up to several hours. device --pack FILE writes",
    "an archive with Node, with which device runs on a Linux x64 machine without both. --json FILE also writes all",
    "numbers unrounded. --rounds N replaces the number of rounds of bulk, llama-cpp, transformers, training and scaling,",
    "and --minutes N the longest time for one size of model in scaling.",
    "",
    "regress compares the ratios of a run with those in bench/ratios.json, and fails if one is below 0.9 of its stored",
    "value. It runs the measurements that it names, by default all with stored ratios, or reads a file that --json wrote",
    "(--results FILE). With --store, it replaces their stored ratios.",
    "",
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

const options = {
  json: { type: "string" },
  rounds: { type: "string" },
  minutes: { type: "string" },
  results: { type: "string" },
  store: { type: "boolean" },
  pack: { type: "string" },
  help: { type: "boolean", short: "h" },
} as const;
type Values = ReturnType<typeof parseArgs<{ options: typeof options }>>["values"];

const print = (table: Table) => console.log(`${formatTable(table)}\n`);

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  if (values.help) return console.log(help());
  const [first, ...names] = positionals;
  if (first === "regress") return regress(names, values);
  if (values.pack !== undefined) {
    if (first !== "device") throw unexpected("invalid_option", "--pack", "the measurement 'device'", first ?? "none");
    return console.log(await packDevice(values.pack));
  }
  await measure(positionals, values);
}

async function regress(names: readonly string[], values: Values): Promise<void> {
  const run =
    values.results === undefined
      ? await measure(names.length > 0 ? names : storedMeasurements(), values)
      : readRun(values.results);
  if (!values.store) return compareRun(run, print);
  console.error(`${storeRatios(run)} ratios are stored`);
}

async function measure(names: readonly string[], values: Values) {
  const chosen = selected(names);
  const [rounds, minutes] = [countOf("--rounds", values.rounds), countOf("--minutes", values.minutes)];
  mkdirSync(folder, { recursive: true });
  const machine = await describeMachine();
  print(machineTable(machine));
  const context: Context = { machine, folder, rounds, minutes, say: (what) => console.error(what) };
  const results: Record<string, readonly Table[]> = {};
  for (const [name, measurement] of chosen) {
    const tables = await measurement.run(context);
    for (const table of tables) print(table);
    results[name] = tables;
  }
  console.error(`models are kept in ${folder}: ${(folderBytes(folder) / 1e9).toFixed(1)} GB`);
  const run = { machine, results };
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(run, undefined, 2)}\n`);
  return run;
}

function countOf(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw unexpected("invalid_option", flag, "a whole number from 1", text);
}

try {
  await main();
} catch (error) {
  console.error(`bench: ${messageOf(error)}`);
  process.exitCode = 1;
}
