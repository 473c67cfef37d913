import sharp, { type Sharp } from "sharp";
import { EpalmError, messageOf, unexpected } from "../../../core/errors.js";
import type { ImagePreprocessing, ImageSize } from "../../../preprocessing/image-preprocessing.js";
import { resizedSize } from "../../preprocess-pixels.js";
import type { RgbImage } from "../../resample.js";

// A server rarely sees the same picture twice: nothing is to be gained from keeping decoded ones in memory.
sharp.cache(false);

/** A whole picture of 50 megapixels decodes in two seconds; what takes so much longer was made to. */
const DECODE_SECONDS = 30;

/**
 * How many times larger than its final size a picture may come out of libvips; from there on we resize as Pillow
 * does. Pillow's own `reducing_gap` calls 3 practically indistinguishable from no reduction. It bounds the work on
 * the calling thread, whatever a client sends (8 ms for a final 224 x 224).
 */
const REDUCING_GAP = 3;

/** What a picture is resized to in the end, before the crop. Throws `too_large`: a strip may grow beyond `maxPixels`. */
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

/** The size at which libvips hands a picture over that becomes `final`: see `REDUCING_GAP`. It never enlarges. */
export function handOverSize(size: ImageSize, final: ImageSize, { resample }: ImagePreprocessing): ImageSize {
  if (resample === "nearest") return size;
  return {
    height: Math.min(size.height, final.height * REDUCING_GAP),
    width: Math.min(size.width, final.width * REDUCING_GAP),
  };
}

/** Pixels of exactly `size`, sRGB, transparency over white. Throws `invalid_media`. */
export async function rgbPixels(source: Sharp, size: ImageSize, where: string): Promise<RgbImage> {
  const { data, info } = await decoding(where, "image", () =>
    source
      .resize(size.width, size.height, { fit: "fill", kernel: "cubic", fastShrinkOnLoad: false })
      .flatten({ background: "white" })
      .toColourspace("srgb")
      .timeout({ seconds: DECODE_SECONDS })
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

/** Turns what libvips throws into `invalid_media`. */
export async function decoding<T>(where: string, what: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw new EpalmError("invalid_media", `${where}: ${what} cannot be decoded: ${complaintOf(error)}`);
  }
}

/** libvips says the same again for each of its attempts at a picture, the first time behind a heading. */
function complaintOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const lines = text.replace(/^Input buffer has corrupt header: /, "").split("\n");
  return messageOf([...new Set(lines.map((line) => line.trim()))].join("; "));
}
