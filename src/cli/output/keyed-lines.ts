import { appendFileSync, closeSync, existsSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { EpalmError, messageOf } from "../../core/errors.js";
import { writeAtomically } from "../../core/files/atomic-write.js";
import { KeySet } from "../../core/key-set.js";
import { readLinesSync } from "../../training/data/read-lines.js";

/** In bytes; far more than an answer takes. */
const MAX_LINE_BYTES = 64 * 1024 * 1024;

/** A line of a file: `finished` with the key of its request, or `failed`. */
export type KeyedLine = { readonly kind: "finished"; readonly key: string } | { readonly kind: "failed" };

/** The lines of one kind of file. */
export interface LineFormat {
  /** What the lines contain, for errors: `an answer of a batch`. */
  readonly expected: string;
  /** The characters with which every line begins, by which an incomplete last line is recognised. */
  readonly prefix: string;
  /** Returns undefined for a line that is not of this kind of file. */
  readonly read: (json: unknown) => KeyedLine | undefined;
}

/**
 * A file with one line of JSON per request, to which runs append, so that the same command resumes an interrupted run.
 * Lines of failed requests, which are tried again, and an incomplete last line are removed first. Neither the lines nor
 * their keys are kept in memory, only hashes of the keys.
 */
export class KeyedLines {
  readonly #descriptor: number;
  readonly #finished = new KeySet();

  /** @throws invalid_option if the file contains anything else, and is then left unchanged, or cannot be written */
  constructor(path: string, format: LineFormat) {
    const folder = dirname(path);
    if (!existsSync(folder)) throw invalid(`${path}: the folder ${folder} does not exist`);
    if (existsSync(path)) this.#resume(path, format);
    try {
      this.#descriptor = openSync(path, "a");
    } catch (error) {
      throw invalid(messageOf(error));
    }
  }

  /** Whether the file contains the finished line of a request. */
  has(key: string): boolean {
    return this.#finished.has(key);
  }

  /** Appends a line, which has been written to the file when this returns. @param key of a finished request */
  append(line: object, key: string | undefined): void {
    appendFileSync(this.#descriptor, `${JSON.stringify(line)}\n`);
    if (key !== undefined) this.#finished.add(key);
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #resume(path: string, format: LineFormat): void {
    if (!statSync(path).isFile()) throw invalid(`${path}: is not a regular file`);
    let isUnchanged = true;
    for (const { line, hasEnd } of linesOf(path, format)) {
      if (line?.kind === "finished") this.#finished.add(line.key);
      isUnchanged &&= hasEnd && line?.kind === "finished";
    }
    // Written atomically, so that the old file survives if the process is killed.
    if (!isUnchanged) writeAtomically(path, keptLines(path, format));
  }
}

function* keptLines(path: string, format: LineFormat): Generator<Uint8Array> {
  for (const { line, text } of linesOf(path, format)) {
    if (line?.kind === "finished") yield Buffer.from(`${text}\n`);
  }
}

interface ReadLine {
  /** Undefined for a last line that is incomplete. */
  readonly line: KeyedLine | undefined;
  readonly text: string;
  /** Whether a line feed follows. */
  readonly hasEnd: boolean;
}

/** @throws invalid_option for a line of something else */
function* linesOf(path: string, { expected, prefix, read }: LineFormat): Generator<ReadLine> {
  for (const line of readLinesSync(path, MAX_LINE_BYTES)) {
    const text = line.kind === "text" ? line.text : "";
    const json = parsed(text);
    const known = json === undefined ? undefined : read(json);
    // A line may also end within a character.
    const isOurs = line.kind === "text" ? prefix.startsWith(text.slice(0, prefix.length)) : line.number > 1;
    const isIncomplete = !line.hasEnd && json === undefined && isOurs;
    if (!known && !isIncomplete) throw invalid(`${path}:${line.number}: expected ${expected}`);
    yield { line: known, text, hasEnd: line.hasEnd };
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function invalid(message: string): EpalmError {
  return new EpalmError("invalid_option", `--output: ${message}`);
}
