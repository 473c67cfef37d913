/** Numbers of numpy in pickles, such as the `numpy.float64` that training scripts save as their best score. */
import { PickleObject, type PickleValue } from "./pickle.js";

const readers: Readonly<Record<string, (view: DataView) => PickleValue>> = {
  f8: (view) => view.getFloat64(0, true),
  f4: (view) => view.getFloat32(0, true),
  i8: (view) => integer(view.getBigInt64(0, true)),
  i4: (view) => view.getInt32(0, true),
  i2: (view) => view.getInt16(0, true),
  i1: (view) => view.getInt8(0),
  u8: (view) => integer(view.getBigUint64(0, true)),
  u4: (view) => view.getUint32(0, true),
  u2: (view) => view.getUint16(0, true),
  u1: (view) => view.getUint8(0),
  b1: (view) => view.getUint8(0) !== 0,
};

/**
 * The value of `numpy.core.multiarray.scalar(dtype, bytes)`.
 *
 * @returns undefined for types without an equivalent, such as float16, complex and big-endian numbers
 */
export function numpyScalar([dtype, content]: readonly PickleValue[]): PickleValue | undefined {
  if (!(dtype instanceof PickleObject) || dtype.className !== "numpy.dtype") return undefined;
  const [code] = dtype.args;
  if (typeof code !== "string" || !Object.hasOwn(readers, code)) return undefined;
  // The state is (version, byte order, …); types of one byte have the order "|".
  const order = Array.isArray(dtype.state) ? dtype.state[1] : undefined;
  if (order === ">") return undefined;
  // A numpy of Python 2 stores a string, which may be valid UTF-8 by chance.
  const bytes = typeof content === "string" ? Buffer.from(content, "utf8") : content;
  if (!(bytes instanceof Uint8Array) || bytes.length !== Number(code.slice(1))) return undefined;
  return readers[code]?.(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}

function integer(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}
