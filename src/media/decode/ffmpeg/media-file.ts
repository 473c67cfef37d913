import { createReadStream } from "node:fs";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import type { Readable } from "node:stream";
import { EpalmError } from "../../../core/errors.js";
import { Semaphore } from "../../../core/semaphore.js";
import type { Container, FoundContainer } from "../../detect/container.js";
import { expectContainer } from "../../detect/media-head.js";
import { MAX_MEDIA_BYTES, type MediaLimits } from "../../media-limits.js";
import { checkLength, type MediaInput, mediaName } from "../../read-media.js";
import { isIndexedFirst } from "./mp4-index.js";
import { MAX_TEMPORARY_BYTES, type TemporaryFile, writeTemporaryFile } from "./temporary-file.js";

/** What one run of ffmpeg reads: a file from a position on, or a pipe. */
export type FfmpegInput =
  | { readonly path: string; readonly skip: number }
  | { readonly piped: Uint8Array | (() => Readable) };

/** Audio or video that ffmpeg reads. */
export interface MediaFile {
  readonly container: Container;
  /** The medium's name in errors. */
  readonly where: string;
  /** When decoding began, in milliseconds of `performance.now()`: all runs on one medium share a time limit. */
  readonly begun: number;
  /** The input of a run. @param seeks whether the run begins at a later position. @throws overloaded */
  readonly input: (seeks: boolean) => Promise<FfmpegInput>;
}

/** One core remains for the models and the event loop, and each decoder takes memory. */
const running = new Semaphore(Math.max(1, availableParallelism() - 1));

/**
 * Runs `use` on a medium, after checking that its first bytes belong to a supported container. Bytes in memory are
 * piped to ffmpeg if it can read the container without seeking; otherwise they are written to a temporary file, because
 * many cameras write the index of an MP4 after its content. One medium fewer than there are cores, but at least one, is
 * processed at a time; others wait for their turn, unless their signal fires.
 *
 * @throws unsupported_media, aborted, and the errors of `readMedia` and `writeTemporaryFile`
 */
export async function withMediaFile<T>(
  input: MediaInput,
  { maxBytes = MAX_MEDIA_BYTES, maxTemporaryBytes }: MediaLimits,
  use: (file: MediaFile) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const where = mediaName(input);
  if (typeof input !== "string") {
    checkLength(input.length, maxBytes, where);
    if (input.length === 0) throw new EpalmError("invalid_media", `${where}: is empty`);
  }
  const found = await expectContainer(input, maxBytes);
  return withContainer({ input, where, ...found }, { maxTemporaryBytes }, use, signal);
}

/** A medium whose container is known. */
interface KnownMedium extends FoundContainer {
  readonly input: MediaInput;
  readonly where: string;
}

/** Does the same for a medium whose container is known. @throws aborted, overloaded */
export async function withContainer<T>(
  { input, where, container, start }: KnownMedium,
  { maxTemporaryBytes = MAX_TEMPORARY_BYTES }: Pick<MediaLimits, "maxTemporaryBytes">,
  use: (file: MediaFile) => Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  return running.run(async () => {
    const begun = performance.now();
    if (typeof input === "string") {
      const path = resolve(input);
      // From a file, ffmpeg cuts the padding at the end of an MP3, but not from a pipe: both must give the same result.
      const whole: FfmpegInput =
        container.name === "mp3" ? { piped: () => createReadStream(path, { start }) } : { path, skip: start };
      return use({ container, where, begun, input: async () => whole });
    }
    const bytes = input.subarray(start);
    const streams = container.streams || (container.demuxer === "mov" && isIndexedFirst(bytes));
    let written: Promise<TemporaryFile> | undefined;
    try {
      const inputOf: MediaFile["input"] = async (seeks) => {
        if (streams && !seeks) return { piped: bytes };
        written ??= writeTemporaryFile(bytes, maxTemporaryBytes);
        return { path: (await written).path, skip: 0 };
      };
      return await use({ container, where, begun, input: inputOf });
    } finally {
      await written?.then(
        (file) => file.remove(),
        () => undefined,
      );
    }
  }, signal);
}
