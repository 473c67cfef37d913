import { messageOf } from "../../core/errors.js";
import { animationFormatOf } from "../../media/decode/image/animation.js";
import { MAX_IMAGE_BYTES } from "../../media/decode/image/image.js";
import { containerNames, containerOf, HEAD_BYTES } from "../../media/detect/container.js";
import { imageFormatOf, imageFormats } from "../../media/detect/image-format.js";
import { MAX_MEDIA_BYTES } from "../../media/media-limits.js";
import { readHead } from "../../media/read-media.js";
import type { MediaReference } from "./example.js";

/** Number of bytes that `imageFormatOf` examines. */
const IMAGE_HEAD_BYTES = 1000;

/**
 * Checks once per medium whether it is a regular, non-empty file of the expected type, by its size and first bytes.
 * Damage further on and missing tracks are only detected when the encoder states are computed, which also happens
 * before training.
 */
export class MediaCheck {
  readonly #causes = new Map<string, Promise<string | undefined>>();

  /** The reason why a medium cannot be used; undefined if it passes the check. */
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

/** The expected file types for messages, if the first bytes do not match the modality. */
function expectedInstead(head: Uint8Array, modality: MediaReference["modality"]): string | undefined {
  switch (modality) {
    case "image":
      return imageFormatOf(head) === undefined ? `an image (${imageFormats.join(", ")})` : undefined;
    case "audio":
      return containerOf(head) === undefined ? "an audio file, or a video with an audio track" : undefined;
    case "video":
      return containerOf(head)?.holdsVideo || animationFormatOf(head)
        ? undefined
        : `a video (${containerNames.join(", ")})`;
    default:
      return modality satisfies never;
  }
}
