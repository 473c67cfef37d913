import sharp, { type Sharp } from "sharp";
import { unexpected } from "../../../core/errors.js";
import type { ImagePreprocessing, ImageSize } from "../../../preprocessing/image-preprocessing.js";
import type { Augmentation } from "../../augment/augmentation.js";
import { type ImageFormat, imageFormatOf, imageFormats } from "../../detect/image-format.js";
import { preprocessPixels } from "../../preprocess-pixels.js";
import { type MediaInput, mediaName, readMedia } from "../../read-media.js";
import { checkPixels, decoding, finalSize, handOverSize, rgbPixels } from "./sharp-pixels.js";

/** In bytes; a JPEG photograph of 48 megapixels takes about half of this. */
export const MAX_IMAGE_BYTES = 32 * 1024 * 1024;

/** Height times width. The largest photographs of common phones (48 megapixels) fit; decoded, they take 150 MB. */
export const MAX_IMAGE_PIXELS = 50_000_000;

export interface ImageLimits {
  /** In bytes, as encoded. Default: `MAX_IMAGE_BYTES`. */
  readonly maxBytes?: number;
  /** Height times width according to the file. Default: `MAX_IMAGE_PIXELS`. */
  readonly maxPixels?: number;
}

/** Format and size of an image according to its file; the EXIF orientation is applied to height and width. */
export interface ImageInfo extends ImageSize {
  readonly format: ImageFormat;
}

/**
 * Decodes JPEG, PNG, WebP, GIF, TIFF, AVIF or SVG into an encoder's input: `[3, H, W]`, row-major, where H x W is
 * `preprocessing.size`.
 *
 * If there are several frames or pages, the first one is used. The EXIF orientation is applied. Grey, CMYK, 16-bit
 * values and embedded colour profiles are converted to 8-bit sRGB. Transparency is composited over white, as viewers
 * usually do; the published training code (Pillow's `convert("RGB")`) instead reveals the hidden colours, mostly black.
 * SVG is rendered at the required size and loads no external resources.
 *
 * Images of up to 3 times the final size give the same bits as Pillow (PNG, and JPEG as Pillow 12 decodes it). Larger
 * images are first reduced by libvips. For images of 1600 x 1200 and 4000 x 3000 and a final 224 x 224, the difference
 * from Pillow's bicubic is 0.2 to 0.5 on average and at most 2, in steps of 1/255.
 *
 * @param augmentation random changes for training. Default: none.
 * @throws unsupported_media (another format), invalid_media (damaged or truncated; a partial image is rejected, not
 *   padded), too_large (names the limit), not_found
 */
export async function decodeImage(
  input: MediaInput,
  preprocessing: ImagePreprocessing,
  limits: ImageLimits = {},
  augmentation?: Augmentation,
): Promise<Float32Array> {
  const { bytes, info } = await openImage(input, limits);
  const where = mediaName(input);
  const final = finalSize(info, preprocessing, limits.maxPixels ?? MAX_IMAGE_PIXELS, where);
  // Vector graphics have no pixel size of their own, so they are rendered at the final size.
  const size = info.format === "svg" ? final : handOverSize(info, final, preprocessing, augmentation);
  const image = await rgbPixels(reader(bytes), size, where);
  return preprocessPixels(image, preprocessing, augmentation);
}

/** Reads the format and the upright size of an image from its header. @throws the errors of `decodeImage` */
export async function readImageInfo(input: MediaInput, limits: ImageLimits = {}): Promise<ImageInfo> {
  return (await openImage(input, limits)).info;
}

async function openImage(input: MediaInput, limits: ImageLimits): Promise<{ bytes: Uint8Array; info: ImageInfo }> {
  const { maxBytes = MAX_IMAGE_BYTES, maxPixels = MAX_IMAGE_PIXELS } = limits;
  const where = mediaName(input);
  const bytes = await readMedia(input, maxBytes);
  const format = imageFormatOf(bytes);
  if (format === undefined) {
    const expected = imageFormats.join(", ");
    throw unexpected("unsupported_media", where, `an image (${expected})`, "other bytes");
  }
  const { autoOrient } = await decoding(where, format, () => reader(bytes).metadata());
  const { height, width } = autoOrient;
  checkPixels({ height, width }, maxPixels, where, "its size");
  return { bytes, info: { format, height, width } };
}

/** `failOn: "error"` rejects truncated files but accepts harmless flaws of camera files (`"warning"`). */
function reader(bytes: Uint8Array): Sharp {
  return sharp(bytes, { failOn: "error", limitInputPixels: false, autoOrient: true });
}
