import { z } from "zod";
import { EpalmError } from "../src/core/errors.js";
import type { Column, Table } from "./table.js";

/** The ratios of a run, by names that do not depend on its numbers, and their comparison with stored ones. */

/** A ratio may be this much worse than the stored one, because runs differ. */
export const TOLERATED = 0.9;

const ratio = z.strictObject({
  value: z.number().positive(),
  better: z.enum(["higher", "lower"]),
});
export type Ratio = z.infer<typeof ratio>;

/** Ratios of one machine in one sitting. */
export const storedRatios = z.strictObject({
  /** Where and how they were measured. */
  machine: z.string(),
  /** By `MEASUREMENT: ROW: COLUMN`. */
  ratios: z.record(z.string(), ratio),
});
export type StoredRatios = z.infer<typeof storedRatios>;

const column = z.looseObject({
  key: z.string(),
  title: z.string(),
  isLabel: z.boolean().optional(),
  better: z.enum(["higher", "lower"]).optional(),
});

/** The part of a file written with `--json` that a comparison needs. */
export const runResults = z.looseObject({
  machine: z.looseObject({ cpu: z.string(), cores: z.number() }),
  results: z.record(
    z.string(),
    z.array(
      z.looseObject({
        columns: z.array(column),
        // JSON has no NaN.
        rows: z.array(z.record(z.string(), z.union([z.number(), z.string(), z.null()]))),
      }),
    ),
  ),
});

type Row = Readonly<Record<string, number | string | null>>;

/** The tables of each measurement, as a run has them or its file. */
export type Results = Readonly<
  Record<
    string,
    readonly { readonly columns: readonly NamedColumn[]; readonly rows: readonly (Row | Table["rows"][number])[] }[]
  >
>;
type NamedColumn = Pick<Column, "key" | "title"> & {
  readonly isLabel?: Column["isLabel"] | undefined;
  readonly better?: Column["better"] | undefined;
};

/** All ratios of a run by name. @throws internal if two have the same name */
export function ratiosOf(results: Results): Map<string, Ratio> {
  const ratios = new Map<string, Ratio>();
  for (const [measurement, tables] of Object.entries(results)) {
    for (const { columns, rows } of tables) {
      for (const row of rows) {
        for (const { key, better } of columns) {
          const value = row[key];
          if (!better || typeof value !== "number" || !Number.isFinite(value)) continue;
          const name = `${measurement}: ${rowName(columns, row)}: ${key}`;
          if (ratios.has(name)) throw new EpalmError("internal", `two ratios have the name '${name}'`);
          ratios.set(name, { value, better });
        }
      }
    }
  }
  return ratios;
}

/** The strings of a row, and the numbers of its label columns with their titles. */
function rowName(columns: readonly NamedColumn[], row: Row): string {
  const labels = columns.flatMap(({ key, title, isLabel }) => {
    const cell = row[key];
    if (typeof cell === "string") return [cell];
    return isLabel && typeof cell === "number" ? [`${title} ${cell}`] : [];
  });
  return labels.join(", ");
}

/** A stored ratio beside the measured one. */
export interface ComparedRatio {
  readonly name: string;
  readonly stored: number;
  /** Undefined if the measurement was not run or lacks this row. */
  readonly measured: number | undefined;
  /** How much better than stored; below 1 if worse. */
  readonly share: number | undefined;
  readonly verdict: "ok" | "worse" | "missing" | "not measured";
}

/** Compares each stored ratio with that of a run. One that a measurement of the run lacks is `missing`. */
export function compareRatios(stored: StoredRatios["ratios"], results: Results): ComparedRatio[] {
  const measured = ratiosOf(results);
  return Object.entries(stored).map(([name, { value, better }]) => {
    const found = measured.get(name)?.value;
    if (found === undefined) {
      const wasRun = Object.hasOwn(results, measurementOf(name));
      return {
        name,
        stored: value,
        measured: undefined,
        share: undefined,
        verdict: wasRun ? "missing" : "not measured",
      };
    }
    const share = better === "higher" ? found / value : value / found;
    return { name, stored: value, measured: found, share, verdict: share < TOLERATED ? "worse" : "ok" };
  });
}

/** The measurement to which a ratio belongs. */
export function measurementOf(name: string): string {
  return name.slice(0, name.indexOf(":"));
}
