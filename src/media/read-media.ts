import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { EpalmError, fileNotFound, messageOf, tooManyBytes } from "../core/errors.js";

/** A medium as the path of a file or as its content. */
export type MediaInput = string | Uint8Array;

/** A clip as a list of encoded images, in order of time and evenly spaced. */
export interface FrameImages {
  readonly frames: readonly Uint8Array[];
}

export function isFrameImages(input: MediaInput | object): input is FrameImages {
  return typeof input === "object" && "frames" in input;
}

/** The name of a medium in errors. */
export function mediaName(input: MediaInput): string {
  return typeof input === "string" ? input : "media";
}

/**
 * Reads the bytes of a medium; a path must refer to a regular file.
 *
 * @throws not_found, invalid_media (cannot be read, or is empty), too_large (more than `maxBytes`)
 */
export async function readMedia(input: MediaInput, maxBytes: number): Promise<Uint8Array> {
  const bytes = typeof input === "string" ? await withRegularFile(input, maxBytes, (file) => file.readFile()) : input;
  checkLength(bytes.length, maxBytes, mediaName(input));
  if (bytes.length === 0) throw new EpalmError("invalid_media", `${mediaName(input)}: is empty`);
  return bytes;
}

/** Reads up to `length` bytes of a file of at most `maxBytes`, from `start` on. @throws the errors of `readMedia` */
export async function readHead(path: string, length: number, maxBytes: number, start = 0): Promise<Uint8Array> {
  return withRegularFile(path, maxBytes, async (file) => {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, start);
    if (bytesRead === 0 && start === 0) throw new EpalmError("invalid_media", `${path}: is empty`);
    return buffer.subarray(0, bytesRead);
  });
}

async function withRegularFile<T>(path: string, maxBytes: number, use: (file: FileHandle) => Promise<T>): Promise<T> {
  let file: FileHandle | undefined;
  try {
    // Without O_NONBLOCK, opening a pipe blocks until its other end is opened.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await file.stat();
    if (!stat.isFile()) throw new EpalmError("invalid_media", `${path}: is not a regular file`);
    checkLength(stat.size, maxBytes, path);
    return await use(file);
  } catch (error) {
    if (error instanceof EpalmError) throw error;
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    if (missing) throw fileNotFound(path);
    throw new EpalmError("invalid_media", `${path}: cannot be read: ${messageOf(error)}`);
  } finally {
    await file?.close();
  }
}

export function checkLength(length: number, maxBytes: number, where: string): void {
  if (length <= maxBytes) return;
  throw tooManyBytes(where, maxBytes, length);
}
