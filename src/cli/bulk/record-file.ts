import { appendFileSync, closeSync, existsSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { EpalmError, messageOf, tooManyBytes } from "../../core/errors.js";
import { writeAtomically } from "../../core/files/atomic-write.js";
import { KeySet } from "../../core/key-set.js";
import { readLinesSync } from "../../training/data/read-lines.js";
import { STANDARD_INPUT } from "../standard-input.js";
import { keyOf, keysOf, type RequestIdentity, type RunMedium } from "./run-medium.js";
import type { RunOutput, RunResult } from "./run-output.js";

/** In bytes; the answers to a request take a few thousand. */
const MAX_RECORD = 64 * 1024 * 1024;

/** What a record of a file says about its request. */
export interface AnswerRecord extends RequestIdentity {
  readonly model?: string | undefined;
  readonly isFailed: boolean;
}

/** How answers are written to a file, record by record. */
export interface RecordFormat {
  /** Whether the text is a record, or the beginning of one that contains a line break. */
  isWhole(text: string): boolean;
  /** Whether a last record is complete although no line break follows it. */
  isComplete(text: string): boolean;
  /** Whether an incomplete last record may be one of this format, rather than the text of another file. */
  isBeginning(text: string): boolean;
  /** Returns undefined for a header. @throws invalid_option */
  parse(text: string, where: string): AnswerRecord | undefined;
  /** @param isFirst whether the file is still empty */
  format(medium: RunMedium, results: readonly RunResult[], isFirst: boolean): string;
}

/** Tells which failed requests of a file are made again. */
export type Retried = (failed: { has(key: string): boolean }) => Promise<(record: RequestIdentity) => boolean>;

export interface RecordFileOptions {
  /** Name of the model; a file with answers of another model is rejected, because they would be mixed up. */
  readonly model: string;
  readonly retried: Retried;
  /** Leaves the file as it is, to find out what is missing. */
  readonly isReadOnly: boolean;
}

/**
 * A file with one record per answer, to which runs append, so that the same command resumes an interrupted run. An
 * incomplete last record is removed, and so is the record of a failed request that the run makes again. The file
 * therefore never contains two records for one request. Its records are read one after the other; 8 bytes per request
 * stay in memory.
 */
export class RecordFile implements RunOutput {
  readonly #path: string;
  readonly #format: RecordFormat;
  readonly #answered = new KeySet();
  #descriptor: number | undefined;
  #isEmpty = true;

  private constructor(path: string, format: RecordFormat) {
    this.#path = path;
    this.#format = format;
  }

  /** @throws invalid_option if the file contains anything else or cannot be written */
  static async open(path: string, format: RecordFormat, options: RecordFileOptions): Promise<RecordFile> {
    const folder = dirname(path);
    if (!existsSync(folder)) throw invalid(`${path}: the folder ${folder} does not exist`);
    const file = new RecordFile(path, format);
    const { isTorn, failed } = file.#read(options.model);
    if (options.isReadOnly) return file;
    try {
      if (isTorn || failed.size > 0) {
        const isRetried = failed.size > 0 ? await options.retried(failed) : () => false;
        // Written atomically, so that the old file survives if the process is killed.
        writeAtomically(path, file.#kept(isRetried));
      }
      file.#descriptor = openSync(path, "a");
    } catch (error) {
      throw error instanceof EpalmError && error.code !== "internal" ? error : invalid(messageOf(error));
    }
    return file;
  }

  /** False for requests that the file answers. Always true for standard input, whose content differs. */
  begin({ file, modality }: RunMedium, question: string | undefined): boolean {
    return file === STANDARD_INPUT || this.#answered.add(keyOf({ file, modality, question }));
  }

  write(medium: RunMedium, results: readonly RunResult[]): void {
    if (this.#descriptor === undefined) throw new EpalmError("internal", `${this.#path}: was opened for reading`);
    appendFileSync(this.#descriptor, this.#format.format(medium, results, this.#isEmpty));
    this.#isEmpty = false;
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
  }

  /** Collects the keys of all answers. */
  #read(model: string): { readonly isTorn: boolean; readonly failed: KeySet } {
    const failed = new KeySet();
    let isTorn = false;
    for (const { text, number, isEnded } of recordsOf(this.#path, this.#format)) {
      isTorn ||= !isEnded;
      if (!isEnded && !this.#format.isComplete(text)) {
        if (this.#format.isBeginning(text)) continue;
        throw invalid(`${this.#path}:${number}: expected an answer`);
      }
      this.#isEmpty = false;
      const record = this.#format.parse(text, `--output: ${this.#path}:${number}`);
      if (!record) continue;
      if (record.model !== undefined && record.model !== model) {
        const got = `one of '${record.model}'`;
        throw invalid(`${this.#path}:${number}: expected an answer of the model '${model}', got ${got}`);
      }
      for (const key of keysOf(record)) (record.isFailed ? failed : this.#answered).add(key);
    }
    return { isTorn, failed };
  }

  /** The content without incomplete records and failed requests that are made again. */
  *#kept(isRetried: (record: RequestIdentity) => boolean): Generator<Uint8Array> {
    for (const { text, isEnded } of recordsOf(this.#path, this.#format)) {
      if (!isEnded && !this.#format.isComplete(text)) continue;
      const record = this.#format.parse(text, this.#path);
      if (!record?.isFailed || !isRetried(record)) yield Buffer.from(`${text}\n`);
    }
  }
}

interface FileRecord {
  readonly text: string;
  /** Counted from 1. */
  readonly number: number;
  /** Whether a line break follows. */
  readonly isEnded: boolean;
}

/** The records of a file, with one of them in memory; none if there is no file. @throws invalid_option */
export function* recordsOf(path: string, { isWhole }: Pick<RecordFormat, "isWhole">): Generator<FileRecord> {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats) return;
  if (!stats.isFile()) throw invalid(`${path}: is not a regular file`);
  let [number, start] = [1, ""];
  for (const line of readLinesSync(path, MAX_RECORD)) {
    const isBad = line.kind === "bad";
    if (isBad && line.isTooLong) throw tooManyBytes(`--output: ${path}:${line.number}`, MAX_RECORD);
    if (isBad && line.hasEnd) throw invalid(`${path}:${line.number}: ${line.cause}`);
    // A last line may end within a character.
    const text = start + (isBad ? "" : line.text);
    if (text.length > MAX_RECORD) throw tooManyBytes(`--output: ${path}:${line.number}`, MAX_RECORD);
    if (line.hasEnd && !isWhole(text)) start = `${text}\n`;
    else {
      yield { text, number: number++, isEnded: line.hasEnd };
      start = "";
    }
  }
  if (start !== "") yield { text: start, number, isEnded: false };
}

function invalid(message: string): EpalmError {
  return new EpalmError("invalid_option", `--output: ${message}`);
}
