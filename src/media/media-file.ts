import { rmSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { EpalmError, messageOf } from "../errors.js";
import { atExit } from "./at-exit.js";
import { type Container, containerNames, containerOf, HEAD_BYTES } from "./container.js";
import { checkLength, type MediaInput, mediaName, readHead } from "./read-media.js";

/** Sound or moving pictures, as a file that ffmpeg can find its way in. */
export interface MediaFile {
  /** Absolute. */
  readonly path: string;
  readonly container: Container;
  /** What errors call it. */
  readonly where: string;
  /** When work on it began, as `performance.now()` tells: its decoding, in however many runs, has a limit of time. */
  readonly begun: number;
}

/**
 * Runs `use` on a medium that is a file, whose first bytes are of a container that is read. Bytes in memory become a
 * private file (its folder 0700, itself 0600) that is gone when this returns, and when the process ends before: a pipe
 * would not do, since cameras write the table of an MP4 behind its content, and frames are sought.
 *
 * @throws unsupported_media, and what `readMedia` throws
 */
export async function withMediaFile<T>(
  input: MediaInput,
  maxBytes: number,
  use: (file: MediaFile) => Promise<T>,
): Promise<T> {
  const [where, begun] = [mediaName(input), performance.now()];
  if (typeof input === "string") {
    const container = knownContainer(await readHead(input, HEAD_BYTES, maxBytes), where);
    return use({ path: resolve(input), container, where, begun });
  }
  checkLength(input.length, maxBytes, where);
  if (input.length === 0) throw new EpalmError("invalid_media", `${where}: is empty`);
  const container = knownContainer(input.subarray(0, HEAD_BYTES), where);
  return withPrivateFile(input, (path) => use({ path, container, where, begun }));
}

function knownContainer(head: Uint8Array, where: string): Container {
  const container = containerOf(head);
  if (container !== undefined) return container;
  const expected = containerNames.join(", ");
  throw new EpalmError(
    "unsupported_media",
    `${where}: expected sound or video (${expected}), got other bytes`,
  );
}

async function withPrivateFile<T>(bytes: Uint8Array, use: (path: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "epalm-media-")).catch((error: unknown) => {
    throw new EpalmError("internal", `no place for a medium: ${messageOf(error)}`);
  });
  const forget = atExit(() => rmSync(folder, { recursive: true, force: true }));
  try {
    const path = join(folder, "medium");
    await writeFile(path, bytes, { flag: "wx", mode: 0o600 }).catch((error: unknown) => {
      throw new EpalmError("internal", `no place for a medium: ${messageOf(error)}`);
    });
    return await use(path);
  } finally {
    await rm(folder, { recursive: true, force: true });
    forget();
  }
}
