import { unexpected } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import type { Prepared } from "../model/encoder-preprocessing.js";
import { augmentFeatures } from "./augment/augment-features.js";
import type { Augmentation } from "./augment/augmentation.js";
import { decodeAudio, MAX_AUDIO_SECONDS } from "./decode/audio/decode-audio.js";
import { logMel, neededSamples } from "./decode/audio/log-mel.js";
import { decodeImage, type ImageLimits } from "./decode/image/image.js";
import { decodeFrames } from "./decode/video/decode-frames.js";
import { decodeVideo, type VideoLimits } from "./decode/video/decode-video.js";
import { mediaKinds } from "./detect/media-kinds.js";
import type { MediaLimits } from "./media-limits.js";
import { type FrameImages, isFrameImages, type MediaInput, mediaName } from "./read-media.js";

/** Limits on media, by the modality as which they are interpreted. */
export interface LimitsByKind {
  readonly image?: ImageLimits | undefined;
  readonly audio?: MediaLimits | undefined;
  readonly video?: VideoLimits | undefined;
}

/**
 * Decodes a medium into an encoder's input for one example, row-major: `[3, H, W]` for an image, `[frames, mel bins]`
 * for audio, `[frames, 3, H, W]` for a video. Only the part of an audio file that the encoder uses is decoded.
 *
 * @param augmentation random changes for training. Default: none.
 * @throws the errors of `decodeImage`, `decodeAudio` and `decodeVideo`
 */
export async function encoderInput(
  input: MediaInput | FrameImages,
  { modality, preprocessing }: Prepared,
  limits: LimitsByKind = {},
  signal?: AbortSignal,
  augmentation?: Augmentation,
): Promise<Float32Array> {
  if (isFrameImages(input)) {
    if (modality !== "video") throw unexpected("invalid_option", "media", modality, "the frames of a video");
    const { frames, picture } = preprocessing;
    return joined(await decodeFrames(input, { frames, preprocessing: picture, signal, augmentation }, limits.image));
  }
  switch (modality) {
    case "image":
      return decodeImage(input, preprocessing, limits.image, signal, augmentation);
    case "audio": {
      const heard = neededSamples(preprocessing) / preprocessing.samplingRate;
      const seconds = Math.min(heard, MAX_AUDIO_SECONDS);
      const sound = await decodeAudio(input, { seconds, signal }, limits.audio);
      const features = await logMel(sound, preprocessing, mediaName(input));
      return augmentation ? augmentFeatures(features, preprocessing, augmentation) : features;
    }
    case "video": {
      const { frames, picture } = preprocessing;
      return joined(await decodeVideo(input, { frames, preprocessing: picture, signal, augmentation }, limits.video));
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
 * Chooses the modality as which a medium is interpreted: the best one in `taken` that its content allows
 * (`mediaKinds`).
 *
 * @throws unsupported_media if the content allows none of them, and the errors of `mediaKinds`
 */
export async function kindAmong(
  input: MediaInput,
  taken: readonly Modality[],
  limits: LimitsByKind = {},
  signal?: AbortSignal,
): Promise<Modality> {
  const maxTemporaryBytes = (limits.video ?? limits.audio)?.maxTemporaryBytes;
  const kinds = await mediaKinds(input, { maxBytes: largest(limits, taken), maxTemporaryBytes }, signal);
  const kind = kinds.find((one) => taken.includes(one));
  if (kind !== undefined) return kind;
  const got = kinds[0] ?? "other bytes";
  throw unexpected("unsupported_media", mediaName(input), taken.join(" or "), got);
}

/** The largest limit in bytes; undefined if any of the modalities has the default limit. */
function largest(limits: LimitsByKind, taken: readonly Modality[]): number | undefined {
  const bytes = taken.flatMap((kind) => limits[kind]?.maxBytes ?? []);
  return bytes.length === taken.length ? Math.max(...bytes) : undefined;
}
