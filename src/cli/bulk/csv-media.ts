import type { Readable } from "node:stream";
import { parse } from "csv-parse";
import { EpalmError, messageOf, unexpected } from "../../core/errors.js";
import { sourceBeside } from "./remote/named-source.js";
import { openInput } from "./remote/open-input.js";
import type { RunMedium } from "./run-medium.js";

/** Column with the paths, unless `--column` names another one; that of epalm's own CSV output. */
const DEFAULT_COLUMN = "file";

/** In bytes. */
const MAX_ROW_BYTES = 1024 * 1024;

export function isCsv(path: string): boolean {
  return /\.[ct]sv$/i.test(path);
}

/** The delimiter of a CSV or TSV file. */
export function delimiterOf(path: string): string {
  return /\.tsv$/i.test(path) ? "\t" : ",";
}

/**
 * The media that a CSV or TSV file names, one per row, by URLs or paths relative to the file; the other columns become
 * `input`. A file that cannot be read ends with a medium that carries the error.
 *
 * @throws invalid_option if the file has no such column
 */
export async function* csvMedia(
  csv: string,
  column = DEFAULT_COLUMN,
): AsyncGenerator<Pick<RunMedium, "file" | "source" | "input">> {
  const delimiter = delimiterOf(csv);
  const parser = parse({ columns: true, bom: true, delimiter, max_record_size: MAX_ROW_BYTES, skip_empty_lines: true });
  let stream: Readable | undefined;
  try {
    stream = (await openInput(csv)).on("error", (error) => parser.destroy(error));
    for await (const row of stream.pipe(parser) as AsyncIterable<Record<string, string>>) {
      const { [column]: file, ...input } = row;
      if (file === undefined) throw missingColumn(csv, column, Object.keys(row));
      if (file !== "") yield { file, source: sourceBeside(csv, file), input };
    }
  } catch (error) {
    if (error instanceof EpalmError && error.code === "invalid_option") throw error;
    const isOwn = error instanceof EpalmError;
    const cause = isOwn ? error : new EpalmError("invalid_data", `${csv}: cannot be read as CSV: ${messageOf(error)}`);
    yield { file: csv, source: { kind: "unreadable", error: cause } };
  } finally {
    stream?.destroy();
  }
}

/** `--column`, or its default, names a column that a file does not have. */
export function missingColumn(file: string, column: string, columns: readonly string[]): EpalmError {
  return unexpected("invalid_option", `--column: ${file}`, `one of its columns, ${columns.join(", ")}`, `'${column}'`);
}
