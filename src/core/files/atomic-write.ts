import { randomBytes } from "node:crypto";
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { EpalmError, messageOf } from "../errors.js";

/**
 * Writes a file completely or not at all: the content is written to a temporary file beside the target, which is
 * renamed once its bytes are on the disk. A failure, including an error of the iterable, leaves no file behind.
 *
 * @throws `internal` if the file cannot be written; the errors of the iterable
 */
export function writeAtomically(path: string, content: string | Uint8Array | Iterable<Uint8Array>): void {
  const isWhole = typeof content === "string" || content instanceof Uint8Array;
  const chunks = isWhole ? [Buffer.from(content)] : content;
  const temporary = temporaryName(path);
  try {
    writeDurably(temporary, chunks);
    rename(temporary, path);
  } catch (error) {
    throw undone(temporary, path, error);
  }
}

/**
 * The same for content that only a path can be given to.
 *
 * @param write creates the file at the path that it receives
 */
export async function replaceAtomically(path: string, write: (path: string) => void | Promise<void>): Promise<void> {
  const temporary = temporaryName(path);
  try {
    await write(temporary);
    const descriptor = openSync(temporary, "r+");
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    rename(temporary, path);
  } catch (error) {
    throw undone(temporary, path, error);
  }
}

function temporaryName(path: string): string {
  return `${path}.${randomBytes(6).toString("hex")}.tmp`;
}

function rename(temporary: string, path: string): void {
  renameSync(temporary, path);
  syncFolder(dirname(path));
}

/** Removes what a failed write left. */
function undone(temporary: string, path: string, error: unknown): EpalmError {
  rmSync(temporary, { force: true });
  if (error instanceof EpalmError) return error;
  return new EpalmError("internal", `${path}: cannot be written: ${messageOf(error)}`, { cause: error });
}

function writeDurably(path: string, chunks: Iterable<Uint8Array>): void {
  const descriptor = openSync(path, "wx");
  try {
    for (const chunk of chunks) writeFully(descriptor, chunk);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function writeFully(descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(descriptor, bytes, done);
}

/** Makes the new name durable as well. Windows cannot open folders and does not need this. */
function syncFolder(path: string): void {
  if (process.platform === "win32") return;
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
