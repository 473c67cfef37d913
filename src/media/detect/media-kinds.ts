import type { Modality } from "../../core/modality.js";
import { withMediaFile } from "../decode/ffmpeg/media-file.js";
import { isAnimation } from "../decode/image/animation.js";
import { MAX_MEDIA_BYTES, type MediaLimits } from "../media-limits.js";
import { type MediaInput, mediaName, readMedia } from "../read-media.js";
import { imageFormatOf } from "./image-format.js";
import { containerIn, readMediaHead } from "./media-head.js";
import { tracksOf } from "./tracks.js";

/**
 * Detects the modalities as which a medium can be interpreted, best first, from its content and not from its name: a
 * video with an audio track is video or audio, an animation is video or an image, an MP4 or WebM without video is
 * audio. The result is empty for unknown formats and for containers whose tracks cannot be read. ffmpeg is used if the
 * first bytes do not suffice.
 *
 * @throws not_found, too_large, invalid_media (no file, or empty), aborted
 */
export async function mediaKinds(
  input: MediaInput,
  limits: MediaLimits = {},
  signal?: AbortSignal,
): Promise<readonly Modality[]> {
  const { maxBytes = MAX_MEDIA_BYTES } = limits;
  const head = await readMediaHead(input, maxBytes);
  if (head.tags === 0 && imageFormatOf(head.bytes) !== undefined) {
    return (await isAnimation(await readMedia(input, maxBytes), mediaName(input), signal))
      ? ["video", "image"]
      : ["image"];
  }
  const container = containerIn(head)?.container;
  if (container === undefined) return [];
  if (!container.holdsVideo) return ["audio"];
  const { video, audio } = await withMediaFile(input, limits, (file) => tracksOf(file, signal), signal);
  return [...(video ? (["video"] as const) : []), ...(audio ? (["audio"] as const) : [])];
}
