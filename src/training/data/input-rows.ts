import { closeSync, existsSync, mkdirSync, openSync, readSync, renameSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { EpalmError } from "../../core/errors.js";

/** Inputs of an encoder in a file, all of the same size: computed once, read in any order. */
export class InputRows {
  readonly #file: number;
  readonly #size: number;

  private constructor(file: number, size: number) {
    this.#file = file;
    this.#size = size;
  }

  /**
   * Opens the file; writes it first if there is none.
   *
   * @param rows number of inputs; `size`: numbers in each
   * @param make computes one input
   * @throws invalid_data if the file has another length
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
      throw new EpalmError("invalid_data", `${path}: expected ${expected} bytes, got ${bytes}; remove it`);
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

/** The file gets its name only when it is complete. */
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
