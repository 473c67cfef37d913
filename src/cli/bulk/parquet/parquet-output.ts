import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { jsonLines } from "../json-lines.js";
import { RecordFile, type RecordFileOptions } from "../record-file.js";
import type { RunMedium } from "../run-medium.js";
import type { RunOutput, RunResult } from "../run-output.js";
import { loadParquetWriter, readParquetRecords, writeParquet } from "./parquet-records.js";

/** What the name of the file with the answers of a run has beyond that of its Parquet file. */
export const LINES_SUFFIX = ".jsonl";

/**
 * A Parquet file, which cannot be appended to. While a run is in progress, all answers are in a file of JSON lines
 * beside it, those that it contained before included. The end of the run, or its interruption with Ctrl-C, replaces the
 * Parquet file by them. If the process is killed, the lines stay, and the next run continues them.
 */
export class ParquetOutput implements RunOutput {
  /** Whether the lines contain more than the Parquet file. */
  #isAhead: boolean;

  private constructor(
    private readonly path: string,
    private readonly records: RecordFile,
    isAhead: boolean,
  ) {
    this.#isAhead = isAhead;
  }

  /** @throws invalid_option, also if a package is not installed; invalid_data */
  static async open(path: string, options: RecordFileOptions): Promise<RunOutput> {
    await loadParquetWriter(`--output: ${path}`);
    const lines = path + LINES_SUFFIX;
    const isContinued = existsSync(lines);
    if (isContinued || !existsSync(path)) {
      return new ParquetOutput(path, await RecordFile.open(lines, jsonLines, options), true);
    }
    if (options.isReadOnly) return openCopy(path, options);
    try {
      await readParquetRecords(path, lines);
      return new ParquetOutput(path, await RecordFile.open(lines, jsonLines, options), false);
    } catch (error) {
      rmSync(lines, { force: true });
      throw error;
    }
  }

  begin(medium: RunMedium, question: string | undefined): boolean {
    return this.records.begin(medium, question);
  }

  write(medium: RunMedium, results: readonly RunResult[]): void {
    this.#isAhead = true;
    this.records.write(medium, results);
  }

  async close(): Promise<void> {
    this.records.close();
    if (this.#isAhead) await writeParquet(this.path + LINES_SUFFIX, this.path);
    rmSync(this.path + LINES_SUFFIX);
  }
}

/** Opens a copy of the answers, to find out what is missing. */
async function openCopy(path: string, options: RecordFileOptions): Promise<RunOutput> {
  const folder = mkdtempSync(join(tmpdir(), "epalm-parquet-"));
  try {
    const lines = join(folder, basename(path) + LINES_SUFFIX);
    await readParquetRecords(path, lines);
    return await RecordFile.open(lines, jsonLines, options);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
