import { closeSync, existsSync, mkdirSync, openSync, readSync, renameSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { EpalmError } from "../../core/errors.js";

/** A file of encoder inputs of the same size, computed once and read in any order. */
export class InputRows {
  readonly #file: number;
  readonly #size: number;

  private constructor(file: number, size: number) {
    this.#file = file;
    this.#size = size;
  }

  /**
   * Opens the file, and writes it first if it does not exist.
   *
   * @param rows number of inputs; `size`: numbers per input
   * @param make computes one input
   * @throws invalid_data if the file has the wrong length
   */
  static async open(
    path: string,
    { rows, size }: { readonly rows: number; readonly size: number },
    make: (row: number) => Promise<Float32Array>,
  ): Promise<InputRows> {
    if (!existsSync(path)) await writeRows(path, rows, make);
    const expected = rows * size * Float32Array.BYTES_PER_ELEMENT;
    const { size: bytes } = statSync(path);
    if (bytes !== expected) {
      throw new EpalmError(
        "invalid_data",
        `${path}: expected ${expected} bytes, got ${bytes}; remove the file to compute it again`,
      );
    }
    return new InputRows(openSync(path, "r"), size);
  }

  read(row: number): Float32Array {
    const data = new Float32Array(this.#size);
    readSync(this.#file, data, 0, data.byteLength, row * data.byteLength);
    return data;
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** Writes the file atomically. */
async function writeRows(path: string, rows: number, make: (row: number) => Promise<Float32Array>) {
  mkdirSync(dirname(path), { recursive: true });
  const part = `${path}.part`;
  const file = openSync(part, "w");
  try {
    for (let row = 0; row < rows; row++) writeSync(file, await make(row));
  } finally {
    closeSync(file);
  }
  renameSync(part, path);
}
