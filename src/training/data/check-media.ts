import { messageOf } from "../../core/errors.js";
import { mayMove } from "../../media/decode/image/animation.js";
import { MAX_IMAGE_BYTES } from "../../media/decode/image/image.js";
import { containerNames, containerOf, HEAD_BYTES } from "../../media/detect/container.js";
import { imageFormatOf, imageFormats } from "../../media/detect/image-format.js";
import { MAX_MEDIA_BYTES } from "../../media/media-limits.js";
import { readHead } from "../../media/read-media.js";
import type { MediaReference } from "./example.js";

/** In bytes: as far as `imageFormatOf` looks. */
const IMAGE_HEAD_BYTES = 1000;

/**
 * Looks whether media can be read at all, once for each: regular files that are not empty, by size and first bytes.
 * Whether the rest is whole, and whether a container holds the track that is wanted, shows when the encoder's states
 * are computed, which is before training, too.
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
  const isImage = modality === "image";
  try {
    const head = isImage
      ? await readHead(path, IMAGE_HEAD_BYTES, MAX_IMAGE_BYTES)
      : await readHead(path, HEAD_BYTES, MAX_MEDIA_BYTES);
    const expected = expectedInstead(head, modality);
    return (
      expected &&
      `${path}: expected ${expected}, got ${imageFormatOf(head) ?? containerOf(head)?.name ?? "other bytes"}`
    );
  } catch (error) {
    return messageOf(error);
  }
}

/** What first bytes should be of, in words, where they are of something else. */
function expectedInstead(head: Uint8Array, modality: MediaReference["modality"]): string | undefined {
  switch (modality) {
    case "image":
      return imageFormatOf(head) === undefined ? `an image (${imageFormats.join(", ")})` : undefined;
    case "audio":
      return containerOf(head) === undefined ? "a sound, or a video with one" : undefined;
    case "video":
      return containerOf(head)?.holdsVideo || mayMove(head) ? undefined : `a video (${containerNames.join(", ")})`;
    default:
      return modality satisfies never;
  }
}
