import { dirname, extname } from "node:path";
import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import { type DataSetFormat, dataSetFormats } from "./data-set-formats.js";
import type { Finding } from "./example.js";
import { isFolderNotFile } from "./file-or-folder.js";
import { readAudioCaps } from "./formats/audiocaps.js";
import { readCocoCaptions } from "./formats/coco-captions.js";
import { readCocoKarpathy } from "./formats/coco-karpathy.js";
import { readEpalmAnnotations } from "./formats/epalm-annotations.js";
import { readGqa } from "./formats/gqa.js";
import { readJsonLines } from "./formats/json-lines.js";
import { readMsrVtt } from "./formats/msr-vtt.js";
import { readMsvdCaptions } from "./formats/msvd-captions.js";
import type { JsonFile } from "./formats/splits.js";
import { readTextFolder } from "./formats/text-folder.js";
import { readVideoQuestions } from "./formats/video-questions.js";
import { readVqaV2 } from "./formats/vqa-v2.js";
import { readJson } from "./read-json.js";

export interface DataSetSource {
  /** The file of the data set (of the questions for VQA v2), or a folder of media with `.txt` files. */
  readonly path: string;
  /** VQA v2: the file of the annotations. */
  readonly annotations?: string | undefined;
  /** Folder of the media, except for JSON lines and folders. Default: the folder of the file. */
  readonly media?: string | undefined;
  /** VQA v2: pattern of the image names; see `VqaFiles`. */
  readonly imagePattern?: string | undefined;
  /** Karpathy's splits and MSR-VTT: the splits to use. Default: all. */
  readonly split?: string | readonly string[] | undefined;
  /** Text file with the names of the media to use, one per line. Default: all media. */
  readonly list?: string | undefined;
  /** Default: detected from the extension of `path`, the content and the presence of `annotations`. */
  readonly format?: DataSetFormat | undefined;
}

/** The formats to which a setting applies. */
const settings = {
  annotations: (format) => format === "vqa-v2",
  imagePattern: (format) => format === "vqa-v2",
  media: (format) => format !== "json-lines" && format !== "text-folder",
  split: (format) => format === "coco-karpathy" || format === "msr-vtt",
} as const satisfies Partial<Record<keyof DataSetSource, (format: DataSetFormat) => boolean>>;

/**
 * The entries of a data set in the order of its file. Their media have not been checked.
 *
 * @throws not_found; invalid_option for settings that do not apply to the format; invalid_data; too_large
 */
export async function readFindings(source: DataSetSource): Promise<AsyncIterable<Finding> | Iterable<Finding>> {
  const { path } = source;
  const isFolder = await isFolderNotFile(path);
  const named = source.format ?? formatByName(source, isFolder);
  if (named !== "json" && isFolder !== (named === "text-folder")) {
    const [expected, got] = isFolder ? ["file", "folder"] : ["folder", "file"];
    throw new EpalmError("invalid_option", `${path}: expected a ${expected} for ${named}, got a ${got}`);
  }
  if (!isJsonFormat(named)) {
    checkSettings(source, named);
    return readFormat(named, source);
  }
  const json: unknown = await readJson(path, z.unknown());
  const format = named === "json" ? formatByContent(json, path) : named;
  checkSettings(source, format);
  return readJsonFormat(format, { path, json }, source);
}

/** The formats that are not detected by the content of a JSON file. */
const otherFormats = ["json-lines", "text-folder", "vqa-v2", "msvd-captions", "audiocaps"] as const;

type OtherFormat = (typeof otherFormats)[number];
type JsonFormat = Exclude<DataSetFormat, OtherFormat>;

function isJsonFormat(format: DataSetFormat | "json"): format is JsonFormat | "json" {
  return otherFormats.every((other) => other !== format);
}

function formatByName({ path, annotations }: DataSetSource, isFolder: boolean): DataSetFormat | "json" {
  if (annotations !== undefined) return "vqa-v2";
  if (isFolder) return "text-folder";
  switch (extname(path).toLowerCase()) {
    case ".jsonl":
    case ".ndjson":
      return "json-lines";
    case ".json":
      return "json";
    case ".csv":
      return "audiocaps";
    case ".txt":
      return "msvd-captions";
    default:
      throw new EpalmError(
        "invalid_option",
        `${path}: expected a .jsonl, .json, .csv or .txt file, a folder, or an explicit format: ${dataSetFormats.join(", ")}`,
      );
  }
}

/** Detects the format by the keys of the file and of its first entry. A file of no known format is read as COCO's. */
function formatByContent(json: unknown, path: string): JsonFormat {
  if (Array.isArray(json)) return "video_id" in objectOf(json[0]) ? "video-questions" : "epalm";
  const file = objectOf(json);
  if (Array.isArray(file.images)) {
    const isKarpathy = !("annotations" in file) && "sentences" in objectOf(file.images[0]);
    return isKarpathy ? "coco-karpathy" : "coco-captions";
  }
  if (Array.isArray(file.videos)) return "msr-vtt";
  if (Array.isArray(file.questions)) {
    throw new EpalmError("invalid_option", `${path}: 'annotations' is required for vqa-v2`);
  }
  return "imageId" in objectOf(Object.values(file)[0]) ? "gqa" : "coco-captions";
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function checkSettings(source: DataSetSource, format: DataSetFormat): void {
  if (format === "vqa-v2" && source.annotations === undefined) {
    throw new EpalmError("invalid_option", `${source.path}: 'annotations' is required for vqa-v2`);
  }
  for (const key of ["annotations", "imagePattern", "media", "split"] as const) {
    if (source[key] === undefined || settings[key](format)) continue;
    throw new EpalmError("invalid_option", `${source.path}: '${key}' does not apply to ${format}`);
  }
}

async function readFormat(format: OtherFormat, source: DataSetSource): Promise<AsyncIterable<Finding>> {
  const { path, annotations = path, media = dirname(path), imagePattern } = source;
  switch (format) {
    case "json-lines":
      return readJsonLines(path);
    case "text-folder":
      return readTextFolder(path);
    case "vqa-v2":
      if (await isFolderNotFile(annotations)) {
        throw new EpalmError("invalid_option", `${annotations}: expected a file for vqa-v2, got a folder`);
      }
      return readVqaV2({ questions: path, annotations, folder: media, imagePattern });
    case "msvd-captions":
      return readMsvdCaptions(path, media);
    case "audiocaps":
      return readAudioCaps(path, media);
    default:
      return format satisfies never;
  }
}

function readJsonFormat(
  format: JsonFormat,
  file: JsonFile,
  { path, media: folder = dirname(path), split }: DataSetSource,
): AsyncIterable<Finding> | Iterable<Finding> {
  const splits = typeof split === "string" ? [split] : split;
  switch (format) {
    case "coco-captions":
      return readCocoCaptions(file, folder);
    case "coco-karpathy":
      return readCocoKarpathy(file, { folder, splits });
    case "gqa":
      return readGqa(file, folder);
    case "msr-vtt":
      return readMsrVtt(file, { folder, splits });
    case "video-questions":
      return readVideoQuestions(file, folder);
    case "epalm":
      return readEpalmAnnotations(file, folder);
    default:
      return format satisfies never;
  }
}
