import { unexpected } from "../../core/errors.js";
import { type MediaInput, mediaName, readHead } from "../read-media.js";
import {
  containerNames,
  type FoundContainer,
  findContainer,
  HEAD_BYTES,
  otherContainerOf,
  tagLength,
} from "./container.js";

/** The first bytes of a medium. */
export interface MediaHead {
  /** Up to `HEAD_BYTES`, after the leading tags. */
  readonly bytes: Uint8Array;
  /** Length of the leading tags. */
  readonly tags: number;
}

/** Files have an ID3v2 tag, an APE tag, or both. */
const MAX_TAGS = 4;

/**
 * Reads the first bytes of a medium that follow its leading tags, however long these are.
 *
 * @throws not_found, too_large, invalid_media (no file, or empty)
 */
export async function readMediaHead(input: MediaInput, maxBytes: number): Promise<MediaHead> {
  let tags = 0;
  for (let count = 0; ; count++) {
    const bytes =
      typeof input === "string"
        ? await readHead(input, HEAD_BYTES, maxBytes, tags)
        : input.subarray(tags, tags + HEAD_BYTES);
    const length = count < MAX_TAGS ? tagLength(bytes) : 0;
    if (length === 0) return { bytes, tags };
    tags += length;
  }
}

/** Detects the container and where it begins in the medium. */
export function containerIn({ bytes, tags }: MediaHead): FoundContainer | undefined {
  const found = findContainer(bytes, tags > 0);
  return found && { container: found.container, start: tags + found.start };
}

/** @throws unsupported_media, and the errors of `readMediaHead` */
export async function expectContainer(input: MediaInput, maxBytes: number): Promise<FoundContainer> {
  const head = await readMediaHead(input, maxBytes);
  const found = containerIn(head);
  if (found) return found;
  const expected = `audio or video (${containerNames.join(", ")})`;
  throw unexpected("unsupported_media", mediaName(input), expected, otherContainerOf(head.bytes) ?? "other bytes");
}
