import { closeSync, openSync, writeSync } from "node:fs";
import type { BasicType } from "hyparquet-writer";
import { EpalmError, unexpected } from "../../../core/errors.js";
import { replaceAtomically } from "../../../core/files/atomic-write.js";
import { optionalPackage } from "../../../core/optional-package.js";
import { jsonLines } from "../json-lines.js";
import { recordsOf } from "../record-file.js";
import { ParquetFile, type ParquetRow } from "./parquet-file.js";

/**
 * Answers as a Parquet file, whose rows are the lines of JSON of the same answers: a column for each key, of strings,
 * numbers or booleans. Other values, and those of columns of several types, are JSON in strings. The metadata of the
 * file names these columns, so that the lines can be restored.
 */

/** Key of the metadata of the files that epalm writes. */
const NOTE = "epalm.json_columns";

/** Rows that are in memory together; an answer takes about a thousand bytes. */
const ROWS_PER_GROUP = 10_000;

/** Columns that exist even if no answer has a value for them, so that the files of several runs have the same ones. */
const commonColumns: readonly (readonly [name: string, type: ColumnType])[] = [
  ["file", "STRING"],
  ["modality", "STRING"],
  ["question", "STRING"],
  ["input", "JSON in a string"],
  ["error", "JSON in a string"],
  ["text", "STRING"],
  ["texts", "JSON in a string"],
  ["model", "STRING"],
  ["adapter", "STRING"],
];

type ColumnType = "STRING" | "DOUBLE" | "BOOLEAN" | "JSON in a string";

/** The package that writes Parquet files. @throws invalid_option if it is not installed */
export function loadParquetWriter(where: string): Promise<typeof import("hyparquet-writer")> {
  return optionalPackage("hyparquet-writer", where, () => import("hyparquet-writer"));
}

/** Writes the records of a file of JSON lines as a Parquet file, completely or not at all. @throws invalid_option */
export async function writeParquet(lines: string, path: string): Promise<void> {
  const { ParquetWriter, fileWriter, schemaFromColumnData } = await loadParquetWriter(`--output: ${path}`);
  const columns = columnsOf(recordsIn(lines));
  const columnData = (rows: readonly ParquetRow[]) => {
    return Array.from(columns, ([name, type]) => ({
      name,
      type: basicType(type),
      nullable: name !== "file",
      data: rows.map((row) => cellOf(row[name], type)),
    }));
  };
  const json = Array.from(columns).flatMap(([name, type]) => (type === "JSON in a string" ? [name] : []));
  await replaceAtomically(path, (temporary) => {
    const writer = new ParquetWriter({
      writer: fileWriter(temporary),
      schema: schemaFromColumnData({ columnData: columnData([]) }),
      kvMetadata: [{ key: NOTE, value: JSON.stringify(json) }],
      createdBy: "epalm",
    });
    for (const rows of groupsOf(recordsIn(lines))) {
      writer.write({ columnData: columnData(rows), rowGroupSize: rows.length });
    }
    writer.finish();
  });
}

/** Writes the rows of such a file as JSON lines, completely or not at all. @throws invalid_option, invalid_data */
export async function readParquetRecords(path: string, lines: string): Promise<void> {
  const file = await ParquetFile.open(path);
  const note = file.note(NOTE);
  if (note === undefined) throw unexpected("invalid_option", path, "answers that epalm has written", "another file");
  const json = new Set<unknown>(JSON.parse(note));
  await replaceAtomically(lines, async (temporary) => {
    const descriptor = openSync(temporary, "wx");
    try {
      for await (const row of file.rows(file.columns.map(({ name }) => name))) {
        const values = Object.entries(row).filter(([, value]) => value !== null && value !== undefined);
        const record = values.map(([name, value]) => [name, json.has(name) ? JSON.parse(String(value)) : value]);
        writeSync(descriptor, `${JSON.stringify(Object.fromEntries(record))}\n`);
      }
    } finally {
      closeSync(descriptor);
    }
  });
}

function* recordsIn(lines: string): Generator<ParquetRow> {
  for (const { text, number } of recordsOf(lines, jsonLines)) {
    const where = `${lines}:${number}`;
    if (!jsonLines.parse(text, where)) throw new EpalmError("internal", `${where}: expected an answer`);
    yield JSON.parse(text);
  }
}

function* groupsOf(records: Iterable<ParquetRow>): Generator<readonly ParquetRow[]> {
  let rows: ParquetRow[] = [];
  for (const record of records) {
    rows.push(record);
    if (rows.length < ROWS_PER_GROUP) continue;
    yield rows;
    rows = [];
  }
  if (rows.length > 0) yield rows;
}

function columnsOf(records: Iterable<ParquetRow>): ReadonlyMap<string, ColumnType> {
  const columns = new Map<string, ColumnType>(commonColumns);
  for (const record of records) {
    for (const [name, value] of Object.entries(record)) {
      if (value === null) continue;
      const [known, own] = [columns.get(name), typeOf(value)];
      columns.set(name, known === undefined || known === own ? own : "JSON in a string");
    }
  }
  return columns;
}

function typeOf(value: unknown): ColumnType {
  switch (typeof value) {
    case "string":
      return "STRING";
    case "number":
      return "DOUBLE";
    case "boolean":
      return "BOOLEAN";
    default:
      return "JSON in a string";
  }
}

function basicType(type: ColumnType): BasicType {
  return type === "JSON in a string" ? "STRING" : type;
}

function cellOf(value: unknown, type: ColumnType): unknown {
  if (value === undefined || value === null) return undefined;
  return type === "JSON in a string" ? JSON.stringify(value) : value;
}
