import { at } from "../src/core/at.js";
import { EpalmError } from "../src/core/errors.js";
import { writeAtomically } from "../src/core/files/atomic-write.js";
import { bytesOf, elementCount, formatShape, type Shape, type TensorSource } from "../src/tensor/tensor.js";

/**
 * Writes the parts of llama.cpp's file format, version 3, that a comparison needs: four kinds of metadata and three
 * tensor types (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
 */

const MAGIC = "GGUF";
const VERSION = 3;
/** Offsets of tensors are multiples of this value, the format's default. */
const ALIGNMENT = 32;

export type GgufValue =
  | { readonly kind: "uint32"; readonly value: number }
  | { readonly kind: "float32"; readonly value: number }
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "strings"; readonly value: readonly string[] };

/** The format's numbers of kinds and types. */
const kindNumbers = { uint32: 4, float32: 6, string: 8, strings: 9 } as const;
const typeNumbers = { F32: 0, Q4_0: 2, Q8_0: 8 } as const;
export type GgufTensorType = keyof typeof typeNumbers;

/** In quantized types, blocks of 32 elements of a row share a scale, a float16 before the elements. */
const BLOCK = 32;
const blockBytes = { Q4_0: 2 + BLOCK / 2, Q8_0: 2 + BLOCK } as const;

export interface GgufTensor {
  readonly type: GgufTensorType;
  /** float32, row-major. */
  readonly source: TensorSource;
}

/** Writes a complete file with one tensor in memory at a time. */
export function writeGguf(
  path: string,
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: ReadonlyMap<string, GgufTensor>,
): void {
  writeAtomically(path, chunks(metadata, tensors));
}

function* chunks(
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: ReadonlyMap<string, GgufTensor>,
): Generator<Uint8Array> {
  const header = encodeHeader(metadata, tensors);
  yield header;
  yield new Uint8Array(paddingAfter(header.length));
  for (const { type, source } of tensors.values()) {
    const bytes = encodeTensor(type, source);
    yield bytes;
    yield new Uint8Array(paddingAfter(bytes.length));
  }
}

function encodeHeader(metadata: ReadonlyMap<string, GgufValue>, tensors: ReadonlyMap<string, GgufTensor>): Uint8Array {
  const parts: Uint8Array[] = [Buffer.from(MAGIC), uint32(VERSION), uint64(tensors.size), uint64(metadata.size)];
  for (const [key, value] of metadata) parts.push(text(key), encodeValue(value));
  let offset = 0;
  for (const [name, { type, source }] of tensors) {
    // The format lists sizes from the innermost axis to the outermost.
    const sizes = source.shape.toReversed().map(uint64);
    parts.push(text(name), uint32(sizes.length), ...sizes, uint32(typeNumbers[type]), uint64(offset));
    const bytes = byteCount(type, source.shape);
    offset += bytes + paddingAfter(bytes);
  }
  return Buffer.concat(parts);
}

function encodeValue(item: GgufValue): Uint8Array {
  const kind = uint32(kindNumbers[item.kind]);
  switch (item.kind) {
    case "uint32":
      return Buffer.concat([kind, uint32(item.value)]);
    case "float32":
      return Buffer.concat([kind, bytesOf(Float32Array.of(item.value))]);
    case "string":
      return Buffer.concat([kind, text(item.value)]);
    case "strings":
      return Buffer.concat([kind, uint32(kindNumbers.string), uint64(item.value.length), ...item.value.map(text)]);
    default:
      return item satisfies never;
  }
}

const uint32 = (value: number) => bytesOf(Int32Array.of(value));
const uint64 = (value: number) => bytesOf(BigInt64Array.of(BigInt(value)));

function text(value: string): Uint8Array {
  const bytes = Buffer.from(value);
  return Buffer.concat([uint64(bytes.length), bytes]);
}

function paddingAfter(bytes: number): number {
  return (ALIGNMENT - (bytes % ALIGNMENT)) % ALIGNMENT;
}

/** Size of a tensor's data in the file. */
export function byteCount(type: GgufTensorType, shape: Shape): number {
  if (type === "F32") return 4 * elementCount(shape);
  const width = shape.at(-1) ?? 0;
  if (width % BLOCK === 0) return (elementCount(shape) / BLOCK) * blockBytes[type];
  throw new EpalmError("internal", `${type} needs rows of whole blocks of ${BLOCK}, got ${formatShape(shape)}`);
}

function encodeTensor(type: GgufTensorType, source: TensorSource): Uint8Array {
  const numbers = source.read();
  if (!(numbers instanceof Float32Array)) {
    throw new EpalmError("internal", `GGUF tensors are made from float32, got ${source.type}`);
  }
  if (type === "F32") return bytesOf(numbers);
  const bytes = new Uint8Array(byteCount(type, source.shape));
  const encode = type === "Q8_0" ? encodeQ8 : encodeQ4;
  for (let block = 0; block < numbers.length / BLOCK; block++) {
    const [from, to] = [block * BLOCK, block * blockBytes[type]];
    encode(numbers.subarray(from, from + BLOCK), bytes.subarray(to, to + blockBytes[type]));
  }
  return bytes;
}

/** Equivalent to ggml's quantize_row_q8_0: scale = largest magnitude / 127. */
function encodeQ8(numbers: Float32Array, block: Uint8Array): void {
  const scale = Math.abs(extremeOf(numbers)) / 127;
  writeScale(block, scale);
  for (let i = 0; i < BLOCK; i++) block[2 + i] = scale === 0 ? 0 : Math.round(at(numbers, i) / scale);
}

/**
 * Equivalent to ggml's quantize_row_q4_0: scale = the element of the largest magnitude / -8, and each byte contains an
 * element of the first half and one of the second, plus 8.
 */
function encodeQ4(numbers: Float32Array, block: Uint8Array): void {
  const scale = extremeOf(numbers) / -8;
  writeScale(block, scale);
  const level = (i: number) => (scale === 0 ? 8 : Math.min(15, Math.trunc(at(numbers, i) / scale + 8.5)));
  for (let i = 0; i < BLOCK / 2; i++) block[2 + i] = level(i) | (level(i + BLOCK / 2) << 4);
}

/** The element of the largest magnitude. */
function extremeOf(numbers: Float32Array): number {
  return numbers.reduce((extreme, value) => (Math.abs(value) > Math.abs(extreme) ? value : extreme), 0);
}

function writeScale(block: Uint8Array, scale: number): void {
  const bits = float16Bits(Math.abs(scale)) | (scale < 0 ? 0x8000 : 0);
  block[0] = bits & 0xff;
  block[1] = bits >> 8;
}

/** The bits of the float16 nearest to `value`, which must be from 0 to 65504. */
function float16Bits(value: number): number {
  const exponent = Math.max(Math.floor(Math.log2(value)), -14);
  // A fraction that rounds up to 1 carries into the exponent, as intended. Below 2^-14 there is no implicit leading
  // 1.
  return ((exponent + 14) << 10) + Math.round((value / 2 ** exponent) * 1024);
}
