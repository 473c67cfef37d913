import { extname } from "node:path";
import { EpalmError, tooManyBytes, unexpected } from "../../../core/errors.js";
import { imageFormatOf } from "../../../media/detect/image-format.js";
import { MAX_MEDIA_BYTES } from "../../../media/media-limits.js";
import { missingColumn } from "../csv-media.js";
import { sourceBeside } from "../remote/named-source.js";
import type { RunMedium } from "../run-medium.js";
import { type ParquetColumn, ParquetFile, type ParquetRow } from "./parquet-file.js";

/** Columns with the media unless `--column` names another one: that of epalm's own output, and those of data sets. */
const DEFAULT_COLUMNS = ["file", "image", "audio", "video"];

type RowMedium = Omit<RunMedium, "questions" | "modality">;

/** Whether a file contains media, rather than their paths. @throws invalid_option, invalid_data, not_found */
export async function holdsMedia(path: string, column: string | undefined): Promise<boolean> {
  return mediaColumn(path, await ParquetFile.open(path), column).kind !== "text";
}

/**
 * The media of a Parquet file, one per row. A column of strings contains paths relative to the file; one of bytes
 * contains media, and so does a struct with `bytes` and `path`, as Hugging Face's datasets writes it, unless `bytes` is
 * null. Rows without a medium are left out. The other columns become `input`, except those with bytes. A file that
 * cannot be read ends with a medium that carries the error.
 *
 * @throws invalid_option if the file has no such column, or a package is not installed
 */
export async function* parquetMedia(path: string, column: string | undefined): AsyncGenerator<RowMedium> {
  try {
    const file = await ParquetFile.open(path);
    const { name } = mediaColumn(path, file, column);
    const others = file.columns.filter((one) => one.name !== name && !hasBytes(one));
    let index = 0;
    for await (const row of file.rows([name, ...others.map((one) => one.name)])) {
      const medium = mediumOf(path, row, name, index++);
      if (medium) yield medium;
    }
  } catch (error) {
    if (!(error instanceof EpalmError) || error.code === "invalid_option") throw error;
    yield { file: path, source: { kind: "unreadable", error } };
  }
}

function mediaColumn(path: string, { columns }: ParquetFile, column: string | undefined): ParquetColumn {
  const names = columns.map(({ name }) => name);
  const name = column ?? DEFAULT_COLUMNS.find((one) => names.includes(one)) ?? "file";
  const found = columns.find((one) => one.name === name);
  if (!found) throw missingColumn(path, name, names);
  if (found.kind !== "other" || found.children.some((child) => child.name === "bytes" && child.kind === "bytes")) {
    return found;
  }
  const expected = "a column of paths, of bytes, or of structs with 'bytes' and 'path'";
  throw unexpected("invalid_option", `--column: ${path}`, expected, `'${name}'`);
}

function hasBytes({ kind, children }: ParquetColumn): boolean {
  return kind === "bytes" || children.some(hasBytes);
}

/** @param index of the row, counted from 0 */
function mediumOf(parquet: string, row: ParquetRow, column: string, index: number): RowMedium | undefined {
  const { [column]: value, ...others } = row;
  const { bytes, path } = cellOf(value);
  const input = plainValue(others) as Readonly<Record<string, unknown>>;
  if (!bytes) {
    return path ? { file: path, source: sourceBeside(parquet, path), input } : undefined;
  }
  const file = `${parquet}/${index}`;
  const named = path ? { [column]: path, ...input } : input;
  if (bytes.length > MAX_MEDIA_BYTES) {
    const error = tooManyBytes(file, MAX_MEDIA_BYTES, bytes.length);
    return { file, source: { kind: "unreadable", error }, input: named };
  }
  // A copy, because the bytes of a row are a part of those of its row group.
  const own = bytes.slice();
  const extension =
    extname(path ?? "")
      .slice(1)
      .toLowerCase() ||
    (imageFormatOf(own) ?? "bin");
  const members = new Map([[extension, own]]);
  return { file, source: { kind: "bytes", bytes: own }, input: named, members };
}

/** The medium of a row: its bytes, and its path or the name that it had. */
function cellOf(value: unknown): { readonly bytes?: Uint8Array | undefined; readonly path?: string | undefined } {
  if (typeof value === "string") return { path: value };
  if (value instanceof Uint8Array) return { bytes: value };
  if (typeof value !== "object" || value === null) return {};
  const { bytes, path } = value as Readonly<Record<string, unknown>>;
  return {
    bytes: bytes instanceof Uint8Array ? bytes : undefined,
    path: typeof path === "string" ? path : undefined,
  };
}

/** A value as JSON can represent it. */
function plainValue(value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (value instanceof Date) return value.toJSON();
  if (ArrayBuffer.isView(value)) return undefined;
  if (Array.isArray(value)) return value.map(plainValue);
  if (typeof value !== "object" || value === null) return value ?? undefined;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plainValue(member)]));
}
