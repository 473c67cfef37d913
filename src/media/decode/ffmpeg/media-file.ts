import { rmSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { atExit } from "../../../core/at-exit.js";
import { EpalmError, messageOf, unexpected } from "../../../core/errors.js";
import { Semaphore } from "../../../core/semaphore.js";
import { type Container, containerNames, containerOf, HEAD_BYTES } from "../../detect/container.js";
import { checkLength, type MediaInput, mediaName, readHead } from "../../read-media.js";

/** Audio or video as a file in which ffmpeg can seek. */
export interface MediaFile {
  /** Absolute. */
  readonly path: string;
  readonly container: Container;
  /** The medium's name in errors. */
  readonly where: string;
  /** When decoding began, in milliseconds of `performance.now()`: all runs on one medium share a time limit. */
  readonly begun: number;
}

/** One core remains for the models and the event loop, and each decoder takes memory. */
const running = new Semaphore(Math.max(1, availableParallelism() - 1));

/**
 * Runs `use` on a medium as a file, after checking that its first bytes belong to a supported container. Bytes in
 * memory are written to a private file (mode 0600, folder 0700), which is deleted when this function returns or the
 * process exits. A pipe would not suffice, because cameras write the index of an MP4 after its content and decoding
 * seeks to frames. One medium fewer than there are cores, but at least one, is processed at a time; others wait for
 * their turn, unless their signal fires.
 *
 * @throws unsupported_media, aborted, and the errors of `readMedia`
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
  throw unexpected("unsupported_media", where, `audio or video (${expected})`, "other bytes");
}

async function withPrivateFile<T>(bytes: Uint8Array, use: (path: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "epalm-media-")).catch((error: unknown) => {
    throw new EpalmError("internal", `cannot write a temporary media file: ${messageOf(error)}`);
  });
  const forget = atExit(() => rmSync(folder, { recursive: true, force: true }));
  try {
    const path = join(folder, "medium");
    await writeFile(path, bytes, { flag: "wx", mode: 0o600 }).catch((error: unknown) => {
      throw new EpalmError("internal", `cannot write a temporary media file: ${messageOf(error)}`);
    });
    return await use(path);
  } finally {
    await rm(folder, { recursive: true, force: true });
    forget();
  }
}
