import { statSync } from "node:fs";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import type { AsyncBuffer, Compressors, FileMetaData, SchemaTree } from "hyparquet";
import { EpalmError, fileNotFound, messageOf, unexpected } from "../../../core/errors.js";
import { optionalPackage } from "../../../core/optional-package.js";
import { objectLength, readObject } from "../remote/s3-client.js";
import { isS3 } from "../remote/s3-name.js";

/** In bytes, uncompressed: the columns of a row group that are read, which are in memory together. */
const MAX_GROUP_BYTES = 2 * 2 ** 30;

/** Compressions for which hyparquet or Node has a decoder. */
const BUILT_IN = new Set(["UNCOMPRESSED", "SNAPPY", "GZIP", "BROTLI"]);

export function isParquet(path: string): boolean {
  return /\.parquet$/i.test(path);
}

/** The package that reads Parquet files. @throws invalid_option if it is not installed */
function loadHyparquet(where: string): Promise<typeof import("hyparquet")> {
  return optionalPackage("hyparquet", where, () => import("hyparquet"));
}

/** A column, which may be a struct of several. */
export interface ParquetColumn {
  readonly name: string;
  readonly kind: "text" | "bytes" | "other";
  /** Those of a struct. */
  readonly children: readonly ParquetColumn[];
}

export type ParquetRow = Readonly<Record<string, unknown>>;

/** A Parquet file, of which one row group is in memory at a time. */
export class ParquetFile {
  private constructor(
    private readonly path: string,
    private readonly hyparquet: typeof import("hyparquet"),
    private readonly buffer: AsyncBuffer,
    private readonly metadata: FileMetaData,
    private readonly compressors: Compressors,
  ) {}

  /** Reads the schema. @throws not_found, invalid_data, invalid_option (a package is not installed) */
  static async open(path: string): Promise<ParquetFile> {
    const hyparquet = await loadHyparquet(path);
    if (!isS3(path) && !statSync(path, { throwIfNoEntry: false })) throw fileNotFound(path);
    return readingParquet(path, async () => {
      const buffer = isS3(path) ? await objectBuffer(path) : await hyparquet.asyncBufferFromFile(path);
      const metadata = await hyparquet.parquetMetadataAsync(buffer);
      return new ParquetFile(path, hyparquet, buffer, metadata, await compressorsOf(path, metadata));
    });
  }

  get columns(): readonly ParquetColumn[] {
    return this.hyparquet.parquetSchema(this.metadata).children.map(columnOf);
  }

  /** The value of a key of the file's own metadata. */
  note(name: string): string | undefined {
    return this.metadata.key_value_metadata?.find(({ key }) => key === name)?.value;
  }

  /** The rows with the given columns. Values of bytes are `Uint8Array`. @throws invalid_data, too_large */
  async *rows(columns: readonly string[]): AsyncGenerator<ParquetRow> {
    const names = new Set(columns);
    let rowStart = 0;
    for (const { num_rows, columns: chunks } of this.metadata.row_groups) {
      const bytes = chunks
        .flatMap(({ meta_data }) => (meta_data && names.has(meta_data.path_in_schema[0] ?? "") ? [meta_data] : []))
        .reduce((sum, { total_uncompressed_size }) => sum + Number(total_uncompressed_size), 0);
      if (bytes > MAX_GROUP_BYTES) {
        throw unexpected("too_large", this.path, `row groups of at most ${MAX_GROUP_BYTES} bytes`, bytes);
      }
      const rowEnd = rowStart + Number(num_rows);
      const range = { file: this.buffer, metadata: this.metadata, columns: [...columns], rowStart, rowEnd };
      // Otherwise, bytes without a type become strings.
      const options = { ...range, compressors: this.compressors, utf8: false };
      yield* await readingParquet(this.path, () => this.hyparquet.parquetReadObjects(options));
      rowStart = rowEnd;
    }
  }
}

/** An object of which the ranges are requested that are read. */
async function objectBuffer(name: string): Promise<AsyncBuffer> {
  const byteLength = await objectLength(name);
  const slice = async (start: number, end = byteLength): Promise<ArrayBuffer> => {
    if (start >= end) return new ArrayBuffer(0);
    const range = `bytes=${start}-${end - 1}`;
    return Uint8Array.from(await readObject(name, { maxBytes: end - start, range })).buffer;
  };
  return { byteLength, slice };
}

async function readingParquet<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof EpalmError) throw error;
    throw new EpalmError("invalid_data", `${path}: cannot be read as Parquet: ${messageOf(error)}`, { cause: error });
  }
}

async function compressorsOf(path: string, metadata: FileMetaData): Promise<Compressors> {
  const codecs = metadata.row_groups.flatMap(({ columns }) => columns.map(({ meta_data }) => meta_data?.codec));
  const other = codecs.find((codec) => codec !== undefined && !BUILT_IN.has(codec));
  const where = `${path}: compression ${other}`;
  const others =
    other && (await optionalPackage("hyparquet-compressors", where, () => import("hyparquet-compressors")));
  return {
    ...others?.compressors,
    GZIP: (input, maxOutputLength) => gunzipSync(input, { maxOutputLength }),
    BROTLI: (input, maxOutputLength) => brotliDecompressSync(input, { maxOutputLength }),
  };
}

function columnOf({ element, children }: SchemaTree): ParquetColumn {
  const { name, type, converted_type, logical_type } = element;
  const isText = converted_type === "UTF8" || logical_type?.type === "STRING";
  const isBytes = type === "BYTE_ARRAY" && !converted_type && !logical_type;
  return { name, kind: isText ? "text" : isBytes ? "bytes" : "other", children: children.map(columnOf) };
}
