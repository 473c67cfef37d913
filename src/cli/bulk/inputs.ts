import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { expand } from "brace-expansion";
import picomatch from "picomatch";
import { throwIfAborted } from "../../core/abort.js";
import { EpalmError, messageOf, unexpected } from "../../core/errors.js";
import { KeySet } from "../../core/key-set.js";
import type { Modality } from "../../core/modality.js";
import { readQuestions } from "../options/media-questions.js";
import { STANDARD_INPUT } from "../standard-input.js";
import { csvMedia, isCsv } from "./csv-media.js";
import { type FileFilter, fileFilter, filesBelow } from "./folder-files.js";
import { namesIn, STANDARD_LIST } from "./name-list.js";
import { isParquet } from "./parquet/parquet-file.js";
import { holdsMedia, parquetMedia } from "./parquet/parquet-media.js";
import { isUrl, sourceOf } from "./remote/named-source.js";
import { isS3, isS3Folder } from "./remote/s3-name.js";
import {
  archiveOf,
  isTar,
  keyOf,
  keysOf,
  type RequestIdentity,
  type RunMedium,
  type RunSource,
  type RunUnit,
} from "./run-medium.js";
import type { Shard } from "./shard.js";
import { tarMedia } from "./tar-media.js";

/** What the command line says about the media of a run. */
export interface InputOptions extends FileFilter {
  /** Files, folders, globs, URLs, lists, tar files and tables (CSV and Parquet files). */
  readonly files: readonly string[];
  /** The questions about each medium. Default: that of its row or sample. */
  readonly asked: readonly (string | undefined)[] | undefined;
  /** A file of questions in place of files. */
  readonly questions?: string | undefined;
  readonly modality?: Modality | undefined;
  /** The modalities that the model accepts. */
  readonly modalities: readonly Modality[];
  /** Column of tables with the paths or the media. */
  readonly column?: string | undefined;
  /** Names in lists end with a NUL character. */
  readonly endsWithNul?: true | undefined;
  readonly shard?: Shard | undefined;
  /** Whether a medium that is given twice is read only once. */
  readonly unique: boolean;
}

/** Most names that braces in one argument may stand for. */
const MAX_NAMES = 1_000_000;

/**
 * The media of a run, in an order that depends on nothing but their names. They are found while they are read, so that
 * any number of them takes the same memory.
 */
export class RunInputs {
  readonly #options: InputOptions;
  readonly #isIncluded: (path: string) => boolean;

  constructor(options: InputOptions) {
    this.#options = options;
    const { modality, modalities } = options;
    this.#isIncluded = fileFilter(options, modality === undefined ? modalities : [modality]);
  }

  get shard(): Shard | undefined {
    return this.#options.shard;
  }

  /** The arguments that name the media, without what they contain. */
  get names(): readonly string[] {
    const { files, questions } = this.#options;
    return questions === undefined ? files : [questions];
  }

  /** Whether the questions about two media may differ, or there are several about each. */
  get hasOwnQuestions(): boolean {
    return this.#options.asked?.length !== 1;
  }

  /** The number of requests about each medium. */
  get questionsPerFile(): number {
    return this.#options.asked?.length ?? 1;
  }

  /** Checks all lines of a file of questions before the first question is answered. @throws the errors of its lines */
  async check(): Promise<void> {
    const { questions } = this.#options;
    if (questions !== undefined) for await (const _ of readQuestions(questions));
  }

  /** The number of units; undefined if they can be read only once. @throws aborted; the errors of the inputs */
  async count(signal: AbortSignal): Promise<number | undefined> {
    if (!this.#areRepeatable) return undefined;
    let count = 0;
    for await (const _ of this.units()) {
      count++;
      throwIfAborted(signal);
    }
    return count;
  }

  /** Tells which of the failed requests of an output are made again; all, if the inputs can be read only once. */
  async retried(failed: { has(key: string): boolean }): Promise<(request: RequestIdentity) => boolean> {
    if (!this.#areRepeatable) return () => true;
    const { asked } = this.#options;
    const [keys, archives] = [new KeySet(), new Set<string>()];
    for await (const unit of this.units()) {
      if (unit.kind === "archive") archives.add(unit.path);
      else {
        const { file, modality, questions } = unit.medium;
        for (const key of questions.map((question) => keyOf({ file, modality, question }))) {
          if (failed.has(key)) keys.add(key);
        }
      }
    }
    return (request) => {
      const isInArchive = archives.has(archiveOf(request.file) ?? "") && (asked?.includes(request.question) ?? true);
      return isInArchive || keysOf(request).some((key) => keys.has(key));
    };
  }

  /** Stops reading a list on standard input, which would keep a process alive that has failed. */
  close(): void {
    if (!this.#areRepeatable) process.stdin.destroy();
  }

  get #areRepeatable(): boolean {
    return !this.#options.files.includes(STANDARD_LIST);
  }

  /** Whether a line may be the only one of the run: one file was named, and one thing is asked about it. */
  get isOne(): boolean {
    const { files, asked } = this.#options;
    const [file = "", ...others] = files;
    if (others.length > 0 || asked?.length !== 1) return false;
    return file === STANDARD_INPUT || (!file.startsWith("@") && kindOf(file) === "file" && !isGlob(file));
  }

  /** The media and archives of this shard. */
  async *units(): AsyncGenerator<RunUnit> {
    const { shard, unique } = this.#options;
    const known = new KeySet();
    let index = 0;
    for await (const unit of this.#allUnits()) {
      if (unique && !known.add(identityOf(unit))) continue;
      if (!shard || index++ % shard.of === shard.index) yield unit;
    }
  }

  /** The media of a unit. */
  async *media(unit: RunUnit): AsyncGenerator<RunMedium> {
    if (unit.kind === "medium") yield unit.medium;
    else if (isParquet(unit.path)) {
      for await (const medium of parquetMedia(unit.path, this.#options.column)) yield this.#asking(medium);
    } else {
      yield* tarMedia(
        unit.path,
        (path) => this.#isIncluded(path),
        (medium) => this.#asking(medium),
      );
    }
  }

  async *#allUnits(): AsyncGenerator<RunUnit> {
    const { files, questions } = this.#options;
    if (questions !== undefined) {
      for await (const { question, ...medium } of readQuestions(questions)) {
        yield { kind: "medium", medium: { ...medium, questions: [question] } };
      }
    }
    for (const file of files) {
      if (!file.startsWith("@")) yield* this.#argument(file);
      else for await (const name of namesIn(file, this.#options.endsWithNul ?? false)) yield* this.#literal(name);
    }
  }

  async *#argument(file: string): AsyncGenerator<RunUnit> {
    if (file === STANDARD_INPUT) yield this.#unit(file, { kind: "standard input" });
    else if (isUrl(file) || (!isS3(file) && existsSync(file))) yield* this.#literal(file);
    else {
      const names = expand(file, { max: MAX_NAMES });
      if (names.some((name) => isGlob(name) && !existsSync(name))) yield* this.#glob(file);
      else for (const name of names) yield* this.#literal(name);
    }
  }

  /** A path that contains no pattern, or a URL. */
  async *#literal(file: string): AsyncGenerator<RunUnit> {
    switch (kindOf(file)) {
      case "folder":
        yield* this.#found(file, filesBelow(file), file);
        break;
      case "tar":
        yield { kind: "archive", path: file };
        break;
      case "csv":
        for await (const medium of csvMedia(file, this.#options.column)) {
          yield { kind: "medium", medium: this.#asking(medium) };
        }
        break;
      case "parquet":
        yield* this.#parquet(file);
        break;
      case "file":
        yield this.#unit(file, sourceOf(file));
    }
  }

  /** A file with media is one unit; of one with paths, each row is. */
  async *#parquet(path: string): AsyncGenerator<RunUnit> {
    const { column } = this.#options;
    try {
      if (await holdsMedia(path, column)) yield { kind: "archive", path };
      else {
        for await (const medium of parquetMedia(path, column)) yield { kind: "medium", medium: this.#asking(medium) };
      }
    } catch (error) {
      if (!(error instanceof EpalmError)) throw error;
      yield this.#reported(path, error);
    }
  }

  async *#glob(glob: string): AsyncGenerator<RunUnit> {
    const { base, glob: pattern } = picomatch.scan(glob);
    const depth = pattern.includes("**") ? undefined : pattern.split("/").length;
    yield* this.#found(glob, filesBelow(base || ".", depth), base, picomatch(pattern, { expandRange }));
  }

  /** The media among the paths below a folder, or an error if there are none. */
  async *#found(
    name: string,
    paths: AsyncIterable<string>,
    folder: string,
    matches: ((path: string) => boolean) | undefined = undefined,
  ): AsyncGenerator<RunUnit> {
    let count = 0;
    try {
      for await (const path of paths) {
        // A folder of photographs may contain an archive; only a glob names it.
        const isArchive = isTar(path) || isParquet(path);
        if (!(matches ? matches(path) && (isArchive || this.#isIncluded(path)) : this.#isIncluded(path))) continue;
        count++;
        const file = isS3(folder) ? `${folder.replace(/\/*$/, "/")}${path}` : join(folder, path);
        if (isArchive) yield* this.#literal(file);
        else yield this.#unit(file, sourceOf(file));
      }
      if (count > 0) return;
      yield this.#unreadable(name, unexpected("not_found", name, "at least one medium", "none"));
    } catch (error) {
      if (error instanceof EpalmError) yield this.#reported(name, error);
      else yield this.#unreadable(name, new EpalmError("not_found", `${name}: cannot be listed: ${messageOf(error)}`));
    }
  }

  /** An error as that of a medium. @throws the error if it concerns the command or all objects */
  #reported(file: string, error: EpalmError): RunUnit {
    if (error.code === "invalid_option" || error.code === "unauthorized") throw error;
    return this.#unreadable(file, error);
  }

  #unreadable(file: string, error: EpalmError): RunUnit {
    return this.#unit(file, { kind: "unreadable", error });
  }

  #unit(file: string, source: RunSource): RunUnit {
    return { kind: "medium", medium: this.#asking({ file, source }) };
  }

  /** Adds the questions, which the row or sample of the medium contains if the command does not. */
  #asking(medium: Omit<RunMedium, "questions" | "modality">): RunMedium {
    const { asked, modality } = this.#options;
    if (asked) return { ...medium, questions: asked, modality };
    const question = medium.input?.question;
    if (typeof question === "string" && question.trim() !== "") return { ...medium, questions: [question], modality };
    const error = unexpected(
      "invalid_option",
      medium.file,
      "--question, or 'question' in its row or sample",
      "neither",
    );
    const source: RunSource = medium.source.kind === "unreadable" ? medium.source : { kind: "unreadable", error };
    return { ...medium, source, questions: [undefined], modality };
  }
}

function identityOf(unit: RunUnit): string {
  if (unit.kind === "archive") return unit.path;
  const { file, modality, questions } = unit.medium;
  return JSON.stringify([file, modality, questions]);
}

/** The numbers or letters of braces such as {00..99} as a regular expression. */
function expandRange(first: string, last: string, step?: unknown): string {
  const range = typeof step === "string" ? [first, last, step] : [first, last];
  return `(${expand(`{${range.join("..")}}`).join("|")})`;
}

function isGlob(name: string): boolean {
  return !isUrl(name) && picomatch.scan(name).isGlob;
}

function kindOf(file: string): "folder" | "tar" | "csv" | "parquet" | "file" {
  if (isUrl(file)) return "file";
  const isFolder = isS3(file) ? isS3Folder(file) : statSync(file, { throwIfNoEntry: false })?.isDirectory();
  if (isFolder) return "folder";
  if (isTar(file)) return "tar";
  if (isParquet(file)) return "parquet";
  return isCsv(file) ? "csv" : "file";
}
