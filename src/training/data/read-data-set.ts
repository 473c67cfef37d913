import { stat } from "node:fs/promises";
import { dirname, extname } from "node:path";
import { EpalmError } from "../../core/errors.js";
import type { Modality } from "../../core/modality.js";
import { refuseBadExamples, type SkipOptions } from "./bad-examples.js";
import { MediaCheck } from "./check-media.js";
import { readCocoCaptions } from "./coco-captions.js";
import { type BadExample, badExample, type Example, type Finding } from "./example.js";
import { readJsonLines } from "./json-lines.js";
import { readTextFolder } from "./text-folder.js";
import { readVqaV2 } from "./vqa-v2.js";

/** All examples are held in memory, at about a kilobyte each. */
const MAX_EXAMPLES = 5_000_000;

/** Media checked concurrently: enough to hide the latency of a disk, few enough for any limit of open files. */
const CHECKED_AT_ONCE = 64;

export const dataSetFormats = ["json-lines", "coco-captions", "vqa-v2", "text-folder"] as const;

export type DataSetFormat = (typeof dataSetFormats)[number];

export interface DataSetSource {
  /** A `.jsonl` file, a COCO captions or VQA v2 questions file, or a folder of media with `.txt` files. */
  readonly path: string;
  /** VQA v2: the file of the annotations. */
  readonly annotations?: string | undefined;
  /** COCO and VQA v2: folder of the images. Default: the folder of the file. */
  readonly media?: string | undefined;
  /** VQA v2: pattern of the image names; see `VqaFiles`. */
  readonly imagePattern?: string | undefined;
  /** Default: detected from `path` and from the presence of `annotations`. */
  readonly format?: DataSetFormat | undefined;
}

export interface ReadOptions extends SkipOptions {
  /** Other examples are bad. `one`: only the modality of the first example is allowed. Default: all. */
  readonly modalities?: readonly Modality[] | "one" | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Examples and skipped entries in the order of the file. */
export interface DataSet {
  readonly examples: readonly Example[];
  readonly skipped: readonly BadExample[];
}

/**
 * Reads a data set and checks all of it, including the media, so that training does not encounter a bad example.
 *
 * @throws not_found; invalid_option for settings that do not apply to the format; invalid_data, naming the bad
 * examples; too_large; aborted
 */
export async function readDataSet(source: DataSetSource, options: ReadOptions = {}): Promise<DataSet> {
  const format = await formatOf(source);
  const check = new MediaCheck();
  const examples: Example[] = [];
  const skipped: BadExample[] = [];
  for await (const findings of chunksOf(readFormat(format, source), CHECKED_AT_ONCE)) {
    if (options.signal?.aborted) throw new EpalmError("aborted", "reading the data set was stopped");
    const looked = await Promise.all(findings.map((one) => checked(one, check)));
    for (const [index, found] of findings.entries()) {
      const first = examples[0]?.media.modality;
      const taken = options.modalities === "one" ? first && [first] : options.modalities;
      const other = amongModalities(found, taken);
      const finding = other.kind === "bad" ? other : (looked[index] ?? other);
      if (finding.kind === "bad") skipped.push(finding);
      else examples.push(finding);
    }
    if (examples.length + skipped.length > MAX_EXAMPLES) {
      throw new EpalmError("too_large", `${source.path}: expected at most ${MAX_EXAMPLES} examples, got more`);
    }
  }
  refuseBadExamples(source.path, examples.length, skipped, options);
  return { examples, skipped };
}

async function formatOf(source: DataSetSource): Promise<DataSetFormat> {
  const isFolder = await isFolderNotFile(source.path);
  const format = source.format ?? guess(source, isFolder);
  if (isFolder !== (format === "text-folder")) {
    const [expected, got] = isFolder ? ["file", "folder"] : ["folder", "file"];
    throw new EpalmError("invalid_option", `${source.path}: expected a ${expected} for ${format}, got a ${got}`);
  }
  const isVqa = format === "vqa-v2";
  if (isVqa && source.annotations === undefined) {
    throw new EpalmError("invalid_option", `${source.path}: 'annotations' is required for vqa-v2`);
  }
  refuseSetting(source, "annotations", format, isVqa);
  refuseSetting(source, "imagePattern", format, isVqa);
  refuseSetting(source, "media", format, isVqa || format === "coco-captions");
  if (source.annotations !== undefined) await isFolderNotFile(source.annotations);
  return format;
}

function guess({ path, annotations }: DataSetSource, isFolder: boolean): DataSetFormat {
  if (annotations !== undefined) return "vqa-v2";
  if (isFolder) return "text-folder";
  const extension = extname(path).toLowerCase();
  if (extension === ".jsonl" || extension === ".ndjson") return "json-lines";
  if (extension === ".json") return "coco-captions";
  throw new EpalmError(
    "invalid_option",
    `${path}: expected a .jsonl or .json file, a folder, or an explicit format: ${dataSetFormats.join(", ")}`,
  );
}

function refuseSetting(
  source: DataSetSource,
  key: "annotations" | "imagePattern" | "media",
  format: DataSetFormat,
  isKnown: boolean,
): void {
  if (isKnown || source[key] === undefined) return;
  throw new EpalmError("invalid_option", `${source.path}: '${key}' does not apply to ${format}`);
}

async function isFolderNotFile(path: string): Promise<boolean> {
  const stats = await stat(path).catch(() => undefined);
  if (stats === undefined) throw new EpalmError("not_found", `${path}: no such file or folder`);
  if (stats.isDirectory() || stats.isFile()) return stats.isDirectory();
  throw new EpalmError("invalid_data", `${path}: expected a regular file or a folder`);
}

function readFormat(format: DataSetFormat, source: DataSetSource): AsyncIterable<Finding> {
  const { path, annotations = path, media = dirname(path), imagePattern } = source;
  switch (format) {
    case "json-lines":
      return readJsonLines(path);
    case "coco-captions":
      return readCocoCaptions(path, media);
    case "vqa-v2":
      return readVqaV2({ questions: path, annotations, folder: media, imagePattern });
    case "text-folder":
      return readTextFolder(path);
    default:
      return format satisfies never;
  }
}

async function checked(finding: Finding, check: MediaCheck): Promise<Finding> {
  if (finding.kind === "bad") return finding;
  const { media, where } = finding;
  const cause = await check.causeAgainst(media);
  return cause === undefined ? finding : badExample(where, `'${media.modality}': ${cause}`);
}

function amongModalities(finding: Finding, taken: readonly Modality[] | undefined): Finding {
  if (finding.kind === "bad" || !taken || taken.includes(finding.media.modality)) return finding;
  const expected = taken.map((modality) => `'${modality}'`).join(" or ");
  const taker = taken.length === 1 ? "the adapter is for" : "the model takes";
  return badExample(finding.where, `expected ${expected}, which ${taker}, got '${finding.media.modality}'`);
}

async function* chunksOf<T>(items: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let chunk: T[] = [];
  for await (const item of items) {
    chunk.push(item);
    if (chunk.length < size) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}
