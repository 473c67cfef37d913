import { EpalmError } from "../core/errors.js";

/** Reads little-endian numbers and strings in sequence; every read is checked against the end of the bytes. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Number of bytes read so far. */
  get position(): number {
    return this.#position;
  }

  uint8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  uint16(): number {
    return this.#view.getUint16(this.#advance(2), true);
  }

  uint32(): number {
    return this.#view.getUint32(this.#advance(4), true);
  }

  int32(): number {
    return this.#view.getInt32(this.#advance(4), true);
  }

  /** A length. Values beyond 2^53 lose digits, but they exceed the end of any input anyway. */
  uint64(): number {
    return Number(this.#view.getBigUint64(this.#advance(8), true));
  }

  /** Big-endian, as in pickles. */
  float64BigEndian(): number {
    return this.#view.getFloat64(this.#advance(8), false);
  }

  bytes(length: number): Uint8Array {
    const start = this.#advance(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** A UTF-8 string. @throws `invalid_checkpoint` if it is not UTF-8 */
  text(length: number): string {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.bytes(length));
    } catch (error) {
      if (error instanceof EpalmError) throw error;
      throw new EpalmError("invalid_checkpoint", `a string at byte ${this.#position} is not UTF-8`);
    }
  }

  /** A string up to the next line feed, which is skipped. @throws `invalid_checkpoint` */
  line(maxLength: number): string {
    const length = this.#bytes.subarray(this.#position, this.#position + maxLength + 1).indexOf(0x0a);
    if (length < 0) {
      throw new EpalmError("invalid_checkpoint", `no line of at most ${maxLength} bytes at byte ${this.#position}`);
    }
    const text = this.text(length);
    this.#advance(1);
    return text;
  }

  #advance(length: number): number {
    const start = this.#position;
    if (length > this.#bytes.length - start) {
      throw new EpalmError(
        "invalid_checkpoint",
        `ends within a value: expected ${length} bytes at ${start} of ${this.#bytes.length}`,
      );
    }
    this.#position += length;
    return start;
  }
}
