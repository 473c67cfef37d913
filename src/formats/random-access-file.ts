import { constants } from "node:buffer";
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { EpalmError, fileNotFound, messageOf } from "../core/errors.js";
import { invalidCheckpoint } from "./invalid-checkpoint.js";

/** One `read` system call transfers less than 2 GiB. */
const MAX_BYTES_PER_CALL = 1 << 30;

/** A file of known size that can be read at any position; every read is checked against that size. */
export class RandomAccessFile {
  readonly path: string;
  /** Size in bytes when the file was opened. */
  readonly size: number;
  #descriptor: number | undefined;

  /** @throws `not_found` if there is no such file, `invalid_checkpoint` if it cannot be opened */
  constructor(path: string) {
    this.path = path;
    try {
      // Checked before opening, because opening a named pipe would wait for its other end.
      if (!statSync(path).isFile()) throw invalidCheckpoint(path, "is not a regular file");
      this.#descriptor = openSync(path, "r");
      this.size = fstatSync(this.#descriptor).size;
    } catch (error) {
      this.close();
      throw openError(path, error);
    }
  }

  /** A new array of the bytes `[start, start + length)`. @throws `invalid_checkpoint` if the file is shorter */
  read(start: number, length: number): Uint8Array<ArrayBuffer> {
    if (this.#descriptor === undefined) throw new EpalmError("internal", `${this.path}: read after close`);
    const inside = Number.isSafeInteger(start) && start >= 0 && length >= 0 && start + length <= this.size;
    if (!inside) {
      throw invalidCheckpoint(
        this.path,
        `is cut short: expected ${length} bytes at ${start}, the file has ${this.size}`,
      );
    }
    if (length > constants.MAX_LENGTH) {
      throw new EpalmError(
        "too_large",
        `${this.path}: expected a read of at most ${constants.MAX_LENGTH} bytes, got ${length}`,
      );
    }
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const got = this.#readSome(bytes.subarray(done, done + MAX_BYTES_PER_CALL), start + done);
      if (got === 0) throw invalidCheckpoint(this.path, "became shorter while it was read");
      done += got;
    }
    return bytes;
  }

  close(): void {
    if (this.#descriptor === undefined) return;
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #readSome(target: Uint8Array, position: number): number {
    try {
      return readSync(this.#descriptor ?? -1, target, 0, target.length, position);
    } catch (error) {
      throw invalidCheckpoint(this.path, `cannot be read: ${messageOf(error)}`);
    }
  }
}

function openError(path: string, error: unknown): EpalmError {
  if (error instanceof EpalmError) return error;
  const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
  if (missing) return fileNotFound(path);
  return invalidCheckpoint(path, `cannot be opened: ${messageOf(error)}`);
}
