import { constants } from "node:buffer";
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { EpalmError, fileNotFound, messageOf } from "../core/errors.js";
import { invalidCheckpoint } from "./invalid-checkpoint.js";

/** One `read` system call moves less than 2 GiB. */
const MAX_BYTES_PER_CALL = 1 << 30;

/** A file of known size, read at any place; every read is checked against that size. */
export class RandomAccessFile {
  readonly path: string;
  /** In bytes, when it was opened. */
  readonly size: number;
  #descriptor: number | undefined;

  /** Throws `not_found` when there is no such file, `invalid_checkpoint` when it cannot be opened. */
  constructor(path: string) {
    this.path = path;
    try {
      // Asked before opening: opening a pipe would wait for its other end.
      if (!statSync(path).isFile()) throw invalidCheckpoint(path, "is not a regular file");
      this.#descriptor = openSync(path, "r");
      this.size = fstatSync(this.#descriptor).size;
    } catch (error) {
      this.close();
      throw openError(path, error);
    }
  }

  /** Fresh bytes `[start, start + length)`; throws `invalid_checkpoint` when the file does not hold them. */
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
        `${this.path}: ${length} bytes at once, at most ${constants.MAX_LENGTH} fit`,
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
