import sharp from "sharp";
import { EpalmError, unexpected } from "../../../core/errors.js";
import type { ImagePreprocessing } from "../../../preprocessing/image-preprocessing.js";
import { type Augmentation, frameRandom } from "../../augment/augmentation.js";
import { SIGNATURE_BYTES } from "../../detect/container.js";
import { nothingDecoded } from "../../detect/tracks.js";
import { MAX_MEDIA_BYTES, type MediaLimits } from "../../media-limits.js";
import { preprocessPixels } from "../../preprocess-pixels.js";
import { type MediaInput, mediaName, readHead, readMedia } from "../../read-media.js";
import type { RgbImage } from "../../resample.js";
import { type MediaFile, withMediaFile } from "../ffmpeg/media-file.js";
import { runFfmpeg } from "../ffmpeg/run-ffmpeg.js";
import { animationFormatOf, decodeAnimation, type FrameSettings } from "../image/animation.js";
import { ppmImages } from "../image/ppm-images.js";
import { checkPixels, finalSize, handOverSize, rgbPixels } from "../image/sharp-pixels.js";
import { chooseFrames, showingSeconds } from "./choose-frames.js";
import { planDecoding, type Segment } from "./plan-decoding.js";
import { readVideoPackets, seenPackets, type VideoPackets } from "./video-packets.js";

/** Height times width of a frame: cinema 4K. */
export const MAX_VIDEO_PIXELS = 4096 * 2304;

export const MAX_VIDEO_SECONDS = 3600;

/** The most frames that a published encoder takes; others take 8 or 16. */
export const MAX_VIDEO_FRAMES = 96;

export interface VideoOptions {
  /** Number of frames to decode; the published value is 8. */
  readonly frames: number;
  /** Preprocessing of each frame. */
  readonly preprocessing: ImagePreprocessing;
  readonly signal?: AbortSignal | undefined;
  /** Random frames and random changes of them for training; all frames are changed in the same way. Default: none. */
  readonly augmentation?: Augmentation | undefined;
}

export interface VideoLimits extends MediaLimits {
  /** Height times width of a frame. Default: `MAX_VIDEO_PIXELS`. */
  readonly maxPixels?: number | undefined;
  /** Seconds from the first frame to the end of the last. Default: `MAX_VIDEO_SECONDS`. */
  readonly maxSeconds?: number | undefined;
}

/**
 * Decodes `frames` frames, sampled evenly from a medium's first video track (see `chooseFrames`), each to `[3, H, W]`
 * as `decodeImage` does: upright, 8-bit RGB, resized and normalised by `preprocessing`. Supports videos that ffmpeg
 * reads, and animated GIF and WebP. The file is first read without decoding, to find the time of each frame; decoding
 * then starts at the key frames before the chosen frames. If a video is damaged or truncated, its remaining frames are
 * used.
 *
 * @throws invalid_option (`frames`), unsupported_media, invalid_media (no frame could be decoded, or there is no
 *   video track), too_large, not_found, aborted
 */
export async function decodeVideo(
  input: MediaInput,
  { frames, preprocessing, signal, augmentation }: VideoOptions,
  limits: VideoLimits = {},
): Promise<readonly Float32Array[]> {
  if (!Number.isInteger(frames) || frames < 1 || frames > MAX_VIDEO_FRAMES) {
    throw unexpected("invalid_option", "frames", `1 to ${MAX_VIDEO_FRAMES}`, frames);
  }
  const { maxBytes = MAX_MEDIA_BYTES } = limits;
  const { maxPixels = MAX_VIDEO_PIXELS, maxSeconds = MAX_VIDEO_SECONDS } = limits;
  const settings = { frames, preprocessing, maxPixels, maxSeconds, signal, augmentation };
  const head = typeof input === "string" ? await readHead(input, SIGNATURE_BYTES, maxBytes) : input;
  const format = animationFormatOf(head);
  if (format) return decodeAnimation(await readMedia(input, maxBytes), format, mediaName(input), settings);
  return withMediaFile(input, limits, (file) => decodeFile(file, settings), signal);
}

async function decodeFile(file: MediaFile, settings: FrameSettings): Promise<Float32Array[]> {
  const { frames, maxPixels, maxSeconds, signal, augmentation } = settings;
  const { where } = file;
  const track = await readVideoPackets(file, signal);
  const { size, packets, complaint } = track;
  if (size !== undefined) checkPixels(size, maxPixels, where, "a frame");
  const shown = packets.map((_, place) => place).sort((a, b) => timeOf(packets, a) - timeOf(packets, b));
  if (shown.length === 0) throw await nothingDecoded(file, "video", complaint, signal);
  const showings = shown.flatMap((place) => packets[place] ?? []);
  const seconds = showingSeconds(showings);
  if (seconds > maxSeconds) {
    const got = `got ${seconds.toFixed(0)}`;
    throw new EpalmError("too_large", `${where}: expected at most ${maxSeconds} seconds, ${got}`);
  }
  const seen = await seenPackets(file, track, shown, maxPixels, signal);
  const order = chooseFrames(showings, frames, frameRandom(augmentation));
  const chosen = order.flatMap((index) => seen.get(shown[index] ?? 0) ?? []);
  const wanted = [...new Set(chosen)];
  const decoded: (Float32Array | undefined)[] = [];
  let reason: string | undefined;
  for (const segment of planDecoding(packets, wanted)) {
    const part = await decodeSegment(file, segment, settings);
    decoded.push(...part.frames);
    reason ??= part.complaint;
  }
  const whole = filled(decoded);
  if (whole.length === 0) throw await nothingDecoded(file, "video", reason, signal);
  return chosen.flatMap((place) => whole[wanted.indexOf(place)] ?? []);
}

function timeOf(packets: VideoPackets["packets"], place: number): number {
  return packets[place]?.time ?? 0;
}

/** In seconds; times are results of divisions and are written with six decimal places. */
const TIME_TOLERANCE = 5e-5;

/** Decodes one frame for each of the segment's times; undefined for frames that could not be decoded. */
async function decodeSegment(file: MediaFile, { start, times }: Segment, settings: FrameSettings) {
  const { preprocessing, maxPixels, signal, augmentation } = settings;
  const firstFrom = times.map((time) => {
    const from = (time - TIME_TOLERANCE).toFixed(6);
    return `gte(t,${from})*(isnan(prev_selected_t)+lt(prev_selected_t,${from}))`;
  });
  const { value, complaint } = await runFfmpeg({
    file,
    signal,
    before: ["-copyts", "-max_pixels", String(maxPixels)],
    seek: start,
    arguments: [
      ...["-map", "0:V:0"],
      // Frames get new, evenly spaced times: otherwise ffmpeg repeats frames to fill gaps, and the option that disables
      // this has different names in different versions. `fps` removes their old durations, which new versions fill.
      ...["-vf", `select='${firstFrom.join("+")}',settb=1/25,setpts=N,fps=25`, "-r", "25"],
      ...["-frames:v", String(times.length)],
      ...["-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe", "pipe:1"],
    ],
    read: async (output) => {
      const frames: Float32Array[] = [];
      for await (const image of ppmImages(output, maxPixels)) {
        frames.push(preprocessPixels(await reduced(image, settings, file.where), preprocessing, augmentation));
        if (frames.length === times.length) break;
      }
      return frames;
    },
  });
  return { frames: spread(value, times.length), complaint };
}

/** Reduces a frame to the size from which it is resized as in Pillow; see `handOverSize`. */
async function reduced(image: RgbImage, settings: FrameSettings, where: string): Promise<RgbImage> {
  const { width, height } = image;
  const { preprocessing, maxPixels, augmentation } = settings;
  const final = finalSize(image, preprocessing, maxPixels, where);
  const size = handOverSize(image, final, preprocessing, augmentation);
  if (size.width === width && size.height === height) return image;
  return rgbPixels(sharp(image.data, { raw: { width, height, channels: 3 } }), size, where);
}

/** If fewer than `count` frames were decoded, which happens only with damaged files, frames are repeated evenly. */
function spread<T>(frames: readonly T[], count: number): (T | undefined)[] {
  return Array.from({ length: count }, (_, index) => frames[Math.floor((index * frames.length) / count)]);
}

/** Fills gaps with the previous frame, and gaps at the beginning with the first frame. */
function filled<T>(frames: readonly (T | undefined)[]): T[] {
  let last = frames.find((frame) => frame !== undefined);
  return frames.flatMap((frame) => {
    last = frame ?? last;
    return last === undefined ? [] : [last];
  });
}
