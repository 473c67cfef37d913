import { existsSync } from "node:fs";
import { join } from "node:path";
import { EpalmError } from "../src/core/errors.js";
import { writeAtomically } from "../src/core/files/atomic-write.js";
import { readJsonFile } from "../src/core/json.js";
import { parse } from "../src/core/schema.js";
import {
  type ComparedRatio,
  compareRatios,
  measurementOf,
  type Results,
  ratiosOf,
  runResults,
  type StoredRatios,
  storedRatios,
  TOLERATED,
} from "./ratios.js";
import type { Table } from "./table.js";

/** The ratios with which later runs are compared. */
const STORED = join("bench", "ratios.json");

/** Larger than any file that a run writes. */
const MAX_BYTES = 10 * 2 ** 20;

/** A run's tables, with the machine that they were measured on. */
export interface MeasuredRun {
  readonly machine: { readonly cpu: string; readonly cores: number };
  readonly results: Results;
}

export function readRun(path: string): MeasuredRun {
  return parse(runResults, readJsonFile(path, MAX_BYTES, "invalid_option"), path, "invalid_option");
}

/** The measurements that have stored ratios. */
export function storedMeasurements(): string[] {
  return Array.from(new Set(Object.keys(readStored().ratios).map(measurementOf)));
}

/** Replaces the stored ratios of the measurements of a run; others stay. */
export function storeRatios({ machine, results }: MeasuredRun): number {
  const known = existsSync(STORED) ? Object.entries(readStored().ratios) : [];
  const own = ratiosOf(results);
  if (own.size === 0) throw new EpalmError("invalid_option", "the run has no ratios to store");
  const others = known.filter(([name]) => !Object.hasOwn(results, measurementOf(name)));
  const stored: StoredRatios = {
    machine: `${machine.cpu}, ${machine.cores} cores`,
    ratios: Object.fromEntries([...others, ...own]),
  };
  writeAtomically(STORED, `${JSON.stringify(stored, undefined, 2)}\n`);
  return own.size;
}

/**
 * Compares a run with the stored ratios.
 *
 * @throws invalid_option, naming each ratio that is worse than `TOLERATED` times the stored one, or missing
 */
export function compareRun({ results }: MeasuredRun, print: (table: Table) => void): void {
  const compared = compareRatios(readStored().ratios, results);
  print(tableOf(compared));
  const failed = compared.filter(({ verdict }) => verdict === "worse" || verdict === "missing");
  if (failed.length > 0) {
    const list = failed.map(({ name, stored, measured }) => `'${name}': expected ${stored}, got ${measured ?? "none"}`);
    const message = `${failed.length} of ${compared.length} ratios are below ${TOLERATED} of their stored values`;
    throw new EpalmError("invalid_option", `${message}: ${list.join("; ")}`);
  }
  if (compared.every(({ verdict }) => verdict === "not measured")) {
    throw new EpalmError("invalid_option", `the run has none of the ratios in ${STORED}`);
  }
}

function tableOf(compared: readonly ComparedRatio[]): Table {
  return {
    title: `regress: ratios beside those in ${STORED}`,
    columns: [
      { key: "name", title: "ratio" },
      { key: "stored", title: "stored", digits: 2 },
      { key: "measured", title: "measured", digits: 2 },
      { key: "share", title: "x", digits: 2 },
      { key: "verdict", title: "" },
    ],
    rows: compared.map(({ name, stored, measured, share, verdict }) => ({
      ...{ name, stored, verdict },
      ...(measured === undefined ? {} : { measured }),
      ...(share === undefined ? {} : { share }),
    })),
    notes: [`x: how much better than stored; ratios below ${TOLERATED} are failures`],
  };
}

function readStored(): StoredRatios {
  if (!existsSync(STORED)) {
    throw new EpalmError("not_found", `${STORED}: expected stored ratios; 'regress --store' writes them`);
  }
  return parse(storedRatios, readJsonFile(STORED, MAX_BYTES, "invalid_option"), STORED, "invalid_option");
}
