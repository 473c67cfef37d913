import { rmSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { atExit } from "../../../core/at-exit.js";
import { EpalmError, messageOf } from "../../../core/errors.js";

/** In bytes, of all temporary files together; the folder may be in memory. */
export const MAX_TEMPORARY_BYTES = 256 * 1024 * 1024;

/** Bytes of the files that exist, or are being written, in this thread. */
let used = 0;

export interface TemporaryFile {
  readonly path: string;
  remove(): Promise<void>;
}

/**
 * Writes bytes to a private file (mode 0600, folder 0700), which is deleted when it is removed or this process exits.
 *
 * @param maxBytes of all temporary files together
 * @throws overloaded: they would take more, or the folder is full or cannot be written
 */
export async function writeTemporaryFile(bytes: Uint8Array, maxBytes: number): Promise<TemporaryFile> {
  if (used + bytes.length > maxBytes) {
    throw overloaded(`expected temporary files of at most ${maxBytes} bytes in total, ${used} are in use`);
  }
  used += bytes.length;
  let folder: string | undefined;
  const erase = () => folder !== undefined && rmSync(folder, { recursive: true, force: true });
  const forget = atExit(erase);
  const remove = async () => {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    forget();
    used -= bytes.length;
  };
  try {
    folder = await mkdtemp(prefix());
    const path = join(folder, "medium");
    await writeFile(path, bytes, { flag: "wx", mode: 0o600 });
    return { path, remove };
  } catch (error) {
    await remove();
    // The message of the file system contains a path of this machine, which a client must not see.
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    throw overloaded(`this format needs a temporary file, which cannot be written (${code})`, error);
  }
}

/** Why no temporary file can be written; undefined if one can. */
export async function temporaryFolderFault(): Promise<string | undefined> {
  try {
    await rm(await mkdtemp(prefix()), { recursive: true });
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function prefix(): string {
  return join(tmpdir(), "epalm-media-");
}

function overloaded(reason: string, cause?: unknown): EpalmError {
  return new EpalmError("overloaded", `media: ${reason}`, { cause });
}
