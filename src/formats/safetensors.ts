/**
 * The safetensors format (https://github.com/huggingface/safetensors#format): eight bytes for the length of the
 * header, a JSON header `{name: {dtype, shape, data_offsets}, __metadata__}`, then the bytes of the tensors,
 * little-endian and without gaps.
 */
import { z } from "zod";
import { EpalmError, unexpected } from "../core/errors.js";
import { writeAtomically } from "../core/files/atomic-write.js";
import { parseJson } from "../core/json.js";
import { firstIssue, safeParse } from "../core/schema.js";
import {
  bytesOf,
  type ElementType,
  elementCount,
  elementSize,
  formatShape,
  type TensorSource,
  typedArray,
} from "../tensor/tensor.js";
import type { Checkpoint, OpenLimits } from "./checkpoint.js";
import { namingFile } from "./invalid-checkpoint.js";
import { MAX_RANK } from "./limits.js";
import { RandomAccessFile } from "./random-access-file.js";

/** The length of the header precedes it as an unsigned 64-bit integer. */
const LENGTH_BYTES = 8;
/** The largest published headers stay below 10 MB. */
const MAX_HEADER_BYTES = 25_000_000;
/** The largest published files have tens of thousands. */
const MAX_TENSORS = 100_000;
/** Name, dtype, shape and offsets of a tensor are about twelve values. */
const VALUES_PER_TENSOR = 20;
/** Writers pad the header with spaces so that the data after it is aligned for every element type. */
const HEADER_ALIGNMENT = 8;
const METADATA_KEY = "__metadata__";

const dtypes = {
  float64: "F64",
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
  int64: "I64",
  int32: "I32",
  int16: "I16",
  int8: "I8",
  uint8: "U8",
  bool: "BOOL",
} as const satisfies Record<ElementType, string>;

const elementTypes = new Map(
  (Object.keys(dtypes) as ElementType[]).map((type): [string, ElementType] => [dtypes[type], type]),
);

const byteOffset = z.int().nonnegative();
const entrySchema = z.strictObject({
  dtype: z.string(),
  shape: z.array(z.int().nonnegative()).max(MAX_RANK),
  data_offsets: z.tuple([byteOffset, byteOffset]),
});
const metadataSchema = z.record(z.string(), z.string());

/** A tensor as described in the header; offsets count from the end of the header. */
interface Entry {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/**
 * Opens a safetensors file. The whole header is checked, but no tensor is read yet.
 *
 * @throws `not_found`; `invalid_checkpoint`, naming the file and the cause
 */
export function openSafetensors(path: string, { maxTensors = MAX_TENSORS }: OpenLimits = {}): Checkpoint {
  const file = new RandomAccessFile(path);
  try {
    const header = readHeader(file);
    const dataStart = LENGTH_BYTES + header.length;
    const { [METADATA_KEY]: metadata, ...tensors } = parseHeader(header, maxTensors);
    const entries = Object.entries(tensors).map(([name, value]) => parseEntry(name, value));
    checkLayout(entries, file.size - dataStart);
    return {
      path,
      tensors: new Map(entries.map((entry) => [entry.name, fileSource(file, entry, dataStart)])),
      metadata: parseMetadata(metadata),
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw namingFile(path, error);
  }
}

function damaged(cause: string): EpalmError {
  return new EpalmError("invalid_checkpoint", cause);
}

function readHeader(file: RandomAccessFile): Uint8Array {
  if (file.size < LENGTH_BYTES) {
    throw damaged(`is cut short: a safetensors file has at least ${LENGTH_BYTES} bytes, got ${file.size}`);
  }
  const lengthBytes = file.read(0, LENGTH_BYTES);
  const length = new DataView(lengthBytes.buffer).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) {
    throw damaged(`the safetensors header claims ${length} bytes, expected at most ${MAX_HEADER_BYTES}`);
  }
  return file.read(LENGTH_BYTES, Number(length));
}

function parseHeader(bytes: Uint8Array, maxTensors: number): Record<string, unknown> {
  const bounds = { maxValues: maxTensors * VALUES_PER_TENSOR, uniqueKeys: true };
  const header = parseJson(bytes, "the safetensors header", "invalid_checkpoint", bounds);
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    throw damaged("the safetensors header is not a JSON object");
  }
  const count = Object.keys(header).length;
  if (count > maxTensors) throw damaged(`contains ${count} tensors, expected at most ${maxTensors}`);
  return Object.fromEntries(Object.entries(header));
}

function parseMetadata(value: unknown): Readonly<Record<string, string>> {
  const metadata = metadataSchema.safeParse(value ?? {});
  if (!metadata.success) throw damaged(`${METADATA_KEY} is not an object of strings`);
  return metadata.data;
}

function parseEntry(name: string, value: unknown): Entry {
  const parsed = safeParse(entrySchema, value);
  if (!parsed.success) throw damaged(`tensor ${name}: ${firstIssue(parsed.error)}`);
  const { dtype, shape, data_offsets: offsets } = parsed.data;
  const type = elementTypes.get(dtype);
  if (!type) {
    throw damaged(`tensor ${name}: dtype ${dtype} is not supported, only ${[...elementTypes.keys()].join(", ")}`);
  }
  const [begin, end] = offsets;
  const expected = elementCount(shape) * elementSize[type];
  if (end - begin !== expected) {
    throw damaged(
      `tensor ${name}: shape ${formatShape(shape)} of ${dtype} takes ${expected} bytes, its data_offsets span ${end - begin}`,
    );
  }
  return { name, type, shape, begin, end };
}

/** The tensors must cover the data exactly, without overlaps or gaps. */
function checkLayout(entries: readonly Entry[], dataSize: number): void {
  let covered = 0;
  for (const { name, begin, end } of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin < covered) throw damaged(`tensor ${name} overlaps another: it begins at ${begin}, not ${covered}`);
    if (begin > covered) throw damaged(`${begin - covered} bytes before tensor ${name} belong to no tensor`);
    covered = end;
  }
  if (covered > dataSize) {
    throw damaged(`is cut short: its header describes ${covered} bytes of tensors, the file has ${dataSize}`);
  }
  if (covered < dataSize) throw damaged(`${dataSize - covered} bytes after the last tensor belong to no tensor`);
}

function fileSource(file: RandomAccessFile, entry: Entry, dataStart: number): TensorSource {
  const { type, shape, begin, end } = entry;
  return { type, shape, read: () => typedArray(type, file.read(dataStart + begin, end - begin)) };
}

/**
 * Writes tensors to a safetensors file, reading one source at a time. The file is written completely or not at all.
 * Tensors with larger elements come first, as in the reference implementation, so that all are aligned.
 *
 * @throws `internal` for a duplicate name, or if a source returns data that does not match its shape
 */
export function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [string, TensorSource]>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const ordered = [...tensors].sort(([, a], [, b]) => elementSize[b.type] - elementSize[a.type]);
  const header = encodeHeader(ordered, metadata);
  writeAtomically(path, fileChunks(header, ordered));
}

function encodeHeader(
  tensors: readonly (readonly [string, TensorSource])[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const entries = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) entries.set(METADATA_KEY, metadata);
  let begin = 0;
  for (const [name, { type, shape }] of tensors) {
    if (name === METADATA_KEY || entries.has(name)) {
      throw new EpalmError("internal", `a safetensors file cannot hold another tensor named ${name}`);
    }
    const end = begin + elementCount(shape) * elementSize[type];
    entries.set(name, { dtype: dtypes[type], shape, data_offsets: [begin, end] });
    begin = end;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const padded = Math.ceil(json.length / HEADER_ALIGNMENT) * HEADER_ALIGNMENT;
  return Buffer.concat([json, Buffer.alloc(padded - json.length, " ")]);
}

function* fileChunks(header: Uint8Array, tensors: readonly (readonly [string, TensorSource])[]): Generator<Uint8Array> {
  const length = new DataView(new ArrayBuffer(LENGTH_BYTES));
  length.setBigUint64(0, BigInt(header.length), true);
  yield new Uint8Array(length.buffer);
  yield header;
  for (const [name, source] of tensors) {
    const bytes = bytesOf(source.read());
    const expected = elementCount(source.shape) * elementSize[source.type];
    if (bytes.length !== expected) {
      throw unexpected("internal", `tensor ${name}`, `${expected} bytes`, bytes.length);
    }
    yield bytes;
  }
}
