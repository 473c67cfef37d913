import { randomBytes } from "node:crypto";
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { EpalmError, messageOf } from "./errors.js";

/**
 * Writes a file whole or not at all: the chunks go to a temporary name beside the target, which takes
 * the target's name once they are on the disk. A failure, also one of the chunks', leaves no trace.
 * Throws `internal` when the disk does not take it.
 */
export function writeWhole(path: string, chunks: Iterable<Uint8Array>): void {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    writeDurably(temporary, chunks);
    renameSync(temporary, path);
    syncFolder(dirname(path));
  } catch (error) {
    rmSync(temporary, { force: true });
    if (error instanceof EpalmError) throw error;
    throw new EpalmError("internal", `${path}: cannot be written: ${messageOf(error)}`, { cause: error });
  }
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

/** Makes the new name itself durable; Windows cannot open folders, and needs not. */
function syncFolder(path: string): void {
  if (process.platform === "win32") return;
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
