import sharp, { type Sharp } from "sharp";
import { EpalmError, messageOf, unexpected } from "../../../core/errors.js";
import type { ImagePreprocessing, ImageSize } from "../../../preprocessing/image-preprocessing.js";
import type { Augmentation } from "../../augment/augmentation.js";
import { firstSize, resizedSize } from "../../preprocess-pixels.js";
import type { RgbImage } from "../../resample.js";

/**
 * How many times larger than its final size an image from libvips may be; the rest of the resizing follows Pillow.
 * Pillow's documentation of `reducing_gap` calls 3 practically indistinguishable from no reduction. The bound limits
 * the work on the calling thread for any input (8 ms for a final 224 x 224).
 */
const REDUCING_GAP = 3;

/**
 * Disables libvips' cache of operations, which would keep decoded images: a service rarely receives the same one twice.
 * Whichever thread of this process loads sharp later, as transformers.js does, enables the cache again for all of them.
 */
export function disableCache(): void {
  sharp.cache(false);
}

/** The size after resizing and before the crop. @throws too_large if a narrow image would grow beyond `maxPixels` */
export function finalSize(
  size: ImageSize,
  { resize }: ImagePreprocessing,
  maxPixels: number,
  where: string,
): ImageSize {
  const final = resizedSize(size, resize);
  checkPixels(final, maxPixels, where, "resized by its shorter side, it");
  return final;
}

/**
 * The size to which libvips reduces an image before it is resized to `final`; see `REDUCING_GAP`. Never enlarges. An
 * image that is cropped at random keeps its aspect ratio, and enough pixels for the smallest crop.
 */
export function handOverSize(
  size: ImageSize,
  final: ImageSize,
  { resample, resize, size: input }: ImagePreprocessing,
  augmentation?: Augmentation,
): ImageSize {
  if (resample === "nearest") return size;
  const crop = augmentation?.settings.randomResizedCrop;
  if (crop) {
    const share =
      (REDUCING_GAP * Math.max(input.height / size.height, input.width / size.width)) / Math.sqrt(crop.scale[0]);
    const reduced = (side: number) => Math.ceil(side * Math.min(1, share));
    return { height: reduced(size.height), width: reduced(size.width) };
  }
  // The aspect ratio determines the size of the first of two resizes.
  const bound = firstSize(size, resize) ?? { height: final.height * REDUCING_GAP, width: final.width * REDUCING_GAP };
  return { height: Math.min(size.height, bound.height), width: Math.min(size.width, bound.width) };
}

/**
 * Decodes to exactly `size` in sRGB, with transparency composited over white.
 *
 * @param isWide whether the source is RGB with 16 bits per channel. sharp would convert it to Display P3 if it has a
 *   profile, and interpret the result as sRGB.
 * @throws invalid_media
 */
export async function rgbPixels(source: Sharp, size: ImageSize, where: string, isWide = false): Promise<RgbImage> {
  disableCache();
  const { data, info } = await decoding(where, "image", () =>
    (isWide ? source.pipelineColourspace("srgb") : source)
      .resize(size.width, size.height, { fit: "fill", kernel: "cubic", fastShrinkOnLoad: false })
      .flatten({ background: "white" })
      .toColourspace("srgb")
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true }),
  );
  if (info.channels !== 3 || info.width !== size.width || info.height !== size.height) {
    const got = `${info.height} x ${info.width} x ${info.channels}`;
    throw unexpected("internal", where, `${size.height} x ${size.width} x 3`, got);
  }
  return { ...size, data };
}

export function checkPixels({ height, width }: ImageSize, maxPixels: number, where: string, what: string): void {
  if (height * width <= maxPixels) return;
  throw new EpalmError("too_large", `${where}: expected at most ${maxPixels} pixels, ${what} is ${width} x ${height}`);
}

/** Converts errors of libvips to `invalid_media`. */
export async function decoding<T>(where: string, what: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw new EpalmError("invalid_media", `${where}: ${what} cannot be decoded: ${complaintOf(error)}`);
  }
}

/** libvips repeats its message for each attempt to read an image, the first time after a prefix. */
function complaintOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const lines = text.replace(/^Input buffer has corrupt header: /, "").split("\n");
  return messageOf([...new Set(lines.map((line) => line.trim()))].join("; "));
}
