import { EpalmError } from "../core/errors.js";
import type { ElementType, TensorSource, TypedArray } from "./tensor.js";

/** The float32 value of every float16 bit pattern, computed once: a lookup is several times faster than arithmetic. */
let float16Table: Float32Array | undefined;

function float16Values(): Float32Array {
  float16Table ??= Float32Array.from({ length: 1 << 16 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
  return float16Table;
}

/**
 * Floating-point elements as float32. A float32 array is returned as it is. @throws `invalid_checkpoint` for other
 * types
 */
export function toFloat32(type: ElementType, data: TypedArray): Float32Array {
  if (data instanceof Float32Array) return data;
  const out = new Float32Array(data.length);
  if (type === "float16" && data instanceof Uint16Array) {
    const table = float16Values();
    for (let i = 0; i < data.length; i++) out[i] = table[data[i] as number] as number;
    return out;
  }
  if (type === "bfloat16" && data instanceof Uint16Array) {
    const bits = new Uint32Array(out.buffer);
    for (let i = 0; i < data.length; i++) bits[i] = (data[i] as number) << 16;
    return out;
  }
  if (data instanceof Float64Array) {
    out.set(data);
    return out;
  }
  throw new EpalmError("invalid_checkpoint", `expected a tensor of floats, got ${type}`);
}

/** float32 numbers as float16, in raw bits: rounded to the nearest, halves to even; too large ones become infinite. */
export function toFloat16(data: Float32Array): Uint16Array {
  const bits = new Uint32Array(data.buffer, data.byteOffset, data.length);
  const halves = new Uint16Array(data.length);
  // A loop, because `Uint16Array.from` first collects all values in a list, which can exceed the heap.
  for (let i = 0; i < data.length; i++) {
    const word = bits[i] as number;
    const sign = (word >>> 16) & 0x8000;
    const magnitude = word & 0x7fffffff;
    if (magnitude > 0x7f800000) halves[i] = sign | 0x7e00;
    else if (magnitude >= 0x477ff000) halves[i] = sign | 0x7c00;
    // Below 2^-14, all float16 numbers are multiples of 2^-24.
    else if (magnitude < 0x38800000) halves[i] = sign | halfEven(Math.abs(data[i] as number) * 2 ** 24);
    else halves[i] = sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  return halves;
}

function halfEven(value: number): number {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below % 2) : Math.round(value);
}

/** A float32 source whose elements become float16 when they are read. */
export function float16Source(source: TensorSource): TensorSource {
  return { type: "float16", shape: source.shape, read: () => toFloat16(toFloat32(source.type, source.read())) };
}

/** The nearest number that an element type of floats can represent, halves to even. */
export function roundTo(type: ElementType, value: number): number {
  if (type !== "float16" && type !== "bfloat16") return type === "float64" ? value : Math.fround(value);
  if (value === 0 || !Number.isFinite(value)) return value;
  const exponent = Math.floor(Math.log2(Math.abs(value)));
  const [bits, smallest] = type === "float16" ? [10, -14] : [7, -126];
  const step = 2 ** (Math.max(exponent, smallest) - bits);
  const scaled = value / step;
  const below = Math.floor(scaled);
  const roundsUp = scaled - below > 0.5 || (scaled - below === 0.5 && below % 2 !== 0);
  return (roundsUp ? below + 1 : below) * step;
}

/** A source that converts its elements to float32 when it is read. */
export function float32Source(source: TensorSource): TensorSource {
  if (source.type === "float32") return source;
  return { type: "float32", shape: source.shape, read: () => toFloat32(source.type, source.read()) };
}
