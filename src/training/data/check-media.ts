import { messageOf } from "../../core/errors.js";
import { animationFormatOf } from "../../media/decode/image/animation.js";
import { MAX_IMAGE_BYTES } from "../../media/decode/image/image.js";
import { containerNames } from "../../media/detect/container.js";
import { imageFormatOf, imageFormats } from "../../media/detect/image-format.js";
import { containerIn, type MediaHead, readMediaHead } from "../../media/detect/media-head.js";
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
  try {
    if (modality === "image") {
      const head = await readHead(path, IMAGE_HEAD_BYTES, MAX_IMAGE_BYTES);
      return imageFormatOf(head) === undefined
        ? `${path}: expected an image (${imageFormats.join(", ")}), got ${nameOf({ bytes: head, tags: 0 })}`
        : undefined;
    }
    const head = await readMediaHead(path, MAX_MEDIA_BYTES);
    const container = containerIn(head)?.container;
    if (modality === "audio" && container) return undefined;
    if (modality === "video" && (container?.holdsVideo || animationFormatOf(head.bytes))) return undefined;
    const expected =
      modality === "audio" ? "an audio file, or a video with an audio track" : `a video (${containerNames.join(", ")})`;
    return `${path}: expected ${expected}, got ${nameOf(head)}`;
  } catch (error) {
    return messageOf(error);
  }
}

function nameOf(head: MediaHead): string {
  return imageFormatOf(head.bytes) ?? containerIn(head)?.container.name ?? "other bytes";
}
