import { rmSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { atExit } from "../../../core/at-exit.js";
import { EpalmError, messageOf, unexpected } from "../../../core/errors.js";
import { Semaphore } from "../../../core/semaphore.js";
import { type Container, containerNames, containerOf, HEAD_BYTES } from "../../detect/container.js";
import { checkLength, type MediaInput, mediaName, readHead } from "../../read-media.js";

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

/** More decoders at once than cores finish no sooner, and each takes memory. */
const running = new Semaphore(Math.max(2, availableParallelism()));

/**
 * Runs `use` on a medium that is a file, whose first bytes are of a container that is read. Bytes in memory become a
 * private file (its folder 0700, itself 0600) that is gone when this returns, and when the process ends before: a pipe
 * would not do, since cameras write the table of an MP4 behind its content, and frames are sought. Media that are worked
 * on at the same time are as many as there are cores, or two; others wait, until their signal fires.
 *
 * @throws unsupported_media, aborted, and what `readMedia` throws
 */
export async function withMediaFile<T>(
  input: MediaInput,
  maxBytes: number,
  use: (file: MediaFile) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const where = mediaName(input);
  if (typeof input === "string") {
    const container = knownContainer(await readHead(input, HEAD_BYTES, maxBytes), where);
    const path = resolve(input);
    return running.run(() => use({ path, container, where, begun: performance.now() }), signal);
  }
  checkLength(input.length, maxBytes, where);
  if (input.length === 0) throw new EpalmError("invalid_media", `${where}: is empty`);
  const container = knownContainer(input.subarray(0, HEAD_BYTES), where);
  return running.run(
    () => withPrivateFile(input, (path) => use({ path, container, where, begun: performance.now() })),
    signal,
  );
}

function knownContainer(head: Uint8Array, where: string): Container {
  const container = containerOf(head);
  if (container !== undefined) return container;
  const expected = containerNames.join(", ");
  throw unexpected("unsupported_media", where, `sound or video (${expected})`, "other bytes");
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
