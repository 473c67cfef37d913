import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { messageOf } from "../../errors.js";
import { mayMove } from "../../media/animation.js";
import { containerNames, containerOf, HEAD_BYTES } from "../../media/container.js";
import { MAX_IMAGE_BYTES } from "../../media/image.js";
import { imageFormatOf, imageFormats } from "../../media/image-format.js";
import { MAX_MEDIA_BYTES } from "../../media/media-limits.js";
import type { MediaReference } from "./example.js";

/**
 * Looks whether media can be read at all, once for each: regular files that are not empty, by size and first bytes. Whether the rest is whole shows when the encoder's states are computed, which is before training, too.
 */
export class MediaCheck {
  readonly #causes = new Map<string, Promise<string | undefined>>();

  /** Why a medium cannot be used; undefined if nothing speaks against it. */
  causeAgainst({ modality, path }: MediaReference): Promise<string | undefined> {
    const key = `${modality} ${path}`;
    const known = this.#causes.get(key) ?? inspect({ modality, path });
    this.#causes.set(key, known);
    return known;
  }
}

async function inspect({ modality, path }: MediaReference): Promise<string | undefined> {
  let file: FileHandle | undefined;
  try {
    // Without O_NONBLOCK, opening a pipe would wait for its other end.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const cause = await causeAgainstFile(file, modality);
    return cause === undefined ? undefined : `${path}: ${cause}`;
  } catch (error) {
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    return `${path}: ${missing ? "no such file" : `cannot be read: ${messageOf(error)}`}`;
  } finally {
    await file?.close();
  }
}

async function causeAgainstFile(
  file: FileHandle,
  modality: MediaReference["modality"],
): Promise<string | undefined> {
  const stats = await file.stat();
  if (!stats.isFile()) return "is not a regular file";
  if (stats.size === 0) return "is empty";
  const most = modality === "image" ? MAX_IMAGE_BYTES : MAX_MEDIA_BYTES;
  if (stats.size > most) return `expected at most ${most} bytes, got ${stats.size}`;
  const { buffer, bytesRead } = await file.read(new Uint8Array(HEAD_BYTES), 0, HEAD_BYTES, 0);
  return causeAgainstHead(buffer.subarray(0, bytesRead), modality);
}

function causeAgainstHead(head: Uint8Array, modality: MediaReference["modality"]): string | undefined {
  if (modality === "image") {
    const isImage = imageFormatOf(head) !== undefined;
    return isImage ? undefined : `expected an image (${imageFormats.join(", ")}), got other bytes`;
  }
  // Sound may be that of a video.
  if (containerOf(head) !== undefined || (modality === "video" && mayMove(head))) return undefined;
  return `expected sound or video (${containerNames.join(", ")}), got other bytes`;
}
