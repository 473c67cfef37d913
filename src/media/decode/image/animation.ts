import sharp from "sharp";
import { throwIfAborted } from "../../../core/abort.js";
import { EpalmError, unexpected } from "../../../core/errors.js";
import type { ImagePreprocessing } from "../../../preprocessing/image-preprocessing.js";
import { type Augmentation, frameRandom } from "../../augment/augmentation.js";
import { imageFormatOf } from "../../detect/image-format.js";
import { preprocessPixels } from "../../preprocess-pixels.js";
import { chooseFrames, type Showing, showingSeconds } from "../video/choose-frames.js";
import { checkPixels, decoding, finalSize, handOverSize, rgbPixels } from "./sharp-pixels.js";

/** Ten minutes at ten frames per second. Decoding a frame includes decoding all frames before it. */
const MAX_PAGES = 6000;

/** In milliseconds: browsers treat delays up to `NO_DELAY` as missing and use `DEFAULT_DELAY` instead. */
const NO_DELAY = 10;
const DEFAULT_DELAY = 100;

/** Whether the bytes are a GIF or WebP with several frames. */
export async function isAnimation(bytes: Uint8Array): Promise<boolean> {
  if (!mayMove(bytes)) return false;
  const { pages = 1 } = await sharp(bytes)
    .metadata()
    .catch(() => ({ pages: 1 }));
  return pages > 1;
}

/** Whether the bytes are in an image format that supports animation. */
export function mayMove(bytes: Uint8Array): boolean {
  const format = imageFormatOf(bytes);
  return format === "gif" || format === "webp";
}

/** The number of frames, their preprocessing and the limits on a medium. */
export interface FrameSettings {
  readonly frames: number;
  readonly preprocessing: ImagePreprocessing;
  readonly maxPixels: number;
  readonly maxSeconds: number;
  readonly signal: AbortSignal | undefined;
  readonly augmentation: Augmentation | undefined;
}

/** Decodes frames of a GIF or WebP as `decodeVideo` does, but with libvips: ffmpeg does not read animated WebP. */
export async function decodeAnimation(
  bytes: Uint8Array,
  where: string,
  { frames, preprocessing, maxPixels, maxSeconds, signal, augmentation }: FrameSettings,
): Promise<Float32Array[]> {
  const open = (page: number) =>
    sharp(bytes, { failOn: "error", limitInputPixels: false, autoOrient: true, page, pages: 1 });
  const { pages = 1, delay = [], autoOrient } = await decoding(where, "animation", () => open(0).metadata());
  checkPixels(autoOrient, maxPixels, where, "its size");
  if (pages > MAX_PAGES) {
    throw unexpected("too_large", where, `at most ${MAX_PAGES} frames`, pages);
  }
  const showings = showingsOf(pages, delay);
  if (showingSeconds(showings) > maxSeconds) {
    throw new EpalmError("too_large", `${where}: expected at most ${maxSeconds} seconds`);
  }
  const final = finalSize(autoOrient, preprocessing, maxPixels, where);
  const size = handOverSize(autoOrient, final, preprocessing, augmentation);
  const decoded = new Map<number, Float32Array>();
  const result: Float32Array[] = [];
  for (const page of chooseFrames(showings, frames, frameRandom(augmentation))) {
    throwIfAborted(signal);
    const pixels =
      decoded.get(page) ?? preprocessPixels(await rgbPixels(open(page), size, where), preprocessing, augmentation);
    decoded.set(page, pixels);
    result.push(pixels);
  }
  return result;
}

function showingsOf(pages: number, delays: readonly number[]): Showing[] {
  let time = 0;
  return Array.from({ length: pages }, (_, page) => {
    const delay = delays[page] ?? 0;
    const showing = { time, duration: (delay > NO_DELAY ? delay : DEFAULT_DELAY) / 1000 };
    time += showing.duration;
    return showing;
  });
}
