import { unexpected } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import type { Prepared } from "../model/encoder-preprocessing.js";
import { decodeAudio, MAX_AUDIO_SECONDS } from "./decode/audio/decode-audio.js";
import { logMel, neededSamples } from "./decode/audio/log-mel.js";
import { decodeImage, type ImageLimits } from "./decode/image/image.js";
import { decodeVideo, type VideoLimits } from "./decode/video/decode-video.js";
import { mediaKinds } from "./detect/media-kinds.js";
import type { MediaLimits } from "./media-limits.js";
import { type MediaInput, mediaName } from "./read-media.js";

/** What a medium may be at most, by what it is taken for. */
export interface LimitsByKind {
  readonly image?: ImageLimits | undefined;
  readonly audio?: MediaLimits | undefined;
  readonly video?: VideoLimits | undefined;
}

/**
 * Decodes a medium into what an encoder takes of one example, row-major: `[3, H, W]` of a picture, `[frames, mel bins]`
 * of a sound, of which only as much as the encoder hears is decoded, `[frames, 3, H, W]` of a video.
 *
 * @throws what `decodeImage`, `decodeAudio` and `decodeVideo` throw
 */
export async function encoderInput(
  input: MediaInput,
  { modality, preprocessing }: Prepared,
  limits: LimitsByKind = {},
  signal?: AbortSignal,
): Promise<Float32Array> {
  switch (modality) {
    case "image":
      return decodeImage(input, preprocessing, limits.image);
    case "audio": {
      const heard = neededSamples(preprocessing.maxLength) / preprocessing.samplingRate;
      const seconds = Math.min(heard, MAX_AUDIO_SECONDS);
      const sound = await decodeAudio(input, { seconds, signal }, limits.audio);
      return logMel(sound, preprocessing, mediaName(input));
    }
    case "video": {
      const { frames, picture } = preprocessing;
      return joined(await decodeVideo(input, { frames, preprocessing: picture, signal }, limits.video));
    }
    default:
      return modality satisfies never;
  }
}

function joined(frames: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(frames.reduce((length, frame) => length + frame.length, 0));
  let offset = 0;
  for (const frame of frames) {
    whole.set(frame, offset);
    offset += frame.length;
  }
  return whole;
}

/**
 * What a medium is to be taken for, of the kinds that somebody takes: the best that its content allows (`mediaKinds`).
 *
 * @throws unsupported_media where it is none of them, and what `mediaKinds` throws
 */
export async function kindAmong(
  input: MediaInput,
  taken: readonly Modality[],
  limits: LimitsByKind = {},
  signal?: AbortSignal,
): Promise<Modality> {
  const kinds = await mediaKinds(input, { maxBytes: largest(limits, taken) }, signal);
  const kind = kinds.find((one) => taken.includes(one));
  if (kind !== undefined) return kind;
  const got = kinds[0] ?? "other bytes";
  throw unexpected("unsupported_media", mediaName(input), taken.join(" or "), got);
}

/** In bytes; undefined where a kind has its usual one. */
function largest(limits: LimitsByKind, taken: readonly Modality[]): number | undefined {
  const bytes = taken.flatMap((kind) => limits[kind]?.maxBytes ?? []);
  return bytes.length === taken.length ? Math.max(...bytes) : undefined;
}
