import sharp, { type Sharp } from "sharp";
import { unexpected } from "../../../core/errors.js";
import type { ImagePreprocessing, ImageSize } from "../../../preprocessing/image-preprocessing.js";
import { type ImageFormat, imageFormatOf, imageFormats } from "../../detect/image-format.js";
import { preprocessPixels } from "../../preprocess-pixels.js";
import { type MediaInput, mediaName, readMedia } from "../../read-media.js";
import { checkPixels, decoding, finalSize, handOverSize, rgbPixels } from "./sharp-pixels.js";

/** In bytes; a photograph of 48 megapixels as JPEG is half as large. */
export const MAX_IMAGE_BYTES = 32 * 1024 * 1024;

/** Height times width; the largest photographs of common phones (48 megapixels) fit, and take 150 MB decoded. */
export const MAX_IMAGE_PIXELS = 50_000_000;

export interface ImageLimits {
  /** In bytes, as encoded. Default: `MAX_IMAGE_BYTES`. */
  readonly maxBytes?: number;
  /** Height times width, as stated in the file. Default: `MAX_IMAGE_PIXELS`. */
  readonly maxPixels?: number;
}

/** An image as its file states it, upright: the EXIF orientation is applied to height and width. */
export interface ImageInfo extends ImageSize {
  readonly format: ImageFormat;
}

/**
 * Decodes JPEG, PNG, WebP, GIF, TIFF, AVIF or SVG into an encoder's input: `[3, H, W]`, row-major, `H` and `W` being
 * `preprocessing.size`.
 *
 * Of several frames or pages the first counts. EXIF orientation is applied; grey, CMYK, 16-bit values and embedded
 * colour profiles become 8-bit sRGB. Transparency is laid over white, which is how people see such pictures; note that
 * the published training code (Pillow's `convert("RGB")`) instead uncovers the hidden colours, mostly black. SVG is
 * rendered at the size that is needed and loads nothing from outside.
 *
 * Up to 3 times the final size, equal to Pillow bit by bit (PNG, and JPEG as Pillow 12 decodes it). Larger pictures
 * are reduced by libvips first; against Pillow's bicubic, in steps of 1/255, with pictures of 1600 x 1200 and
 * 4000 x 3000 for 224 x 224: 0.2 to 0.5 in the mean, 2 at most.
 *
 * Throws `unsupported_media` (the bytes are of none of the formats), `invalid_media` (damaged or cut short: half a
 * picture is refused, not filled up), `too_large` (names the limit), `not_found` (a path that leads nowhere).
 */
export async function decodeImage(
  input: MediaInput,
  preprocessing: ImagePreprocessing,
  limits: ImageLimits = {},
): Promise<Float32Array> {
  const { bytes, info } = await openImage(input, limits);
  const where = mediaName(input);
  const final = finalSize(info, preprocessing, limits.maxPixels ?? MAX_IMAGE_PIXELS, where);
  // Drawings have no size of their own: they are drawn at the one that is needed.
  const size = info.format === "svg" ? final : handOverSize(info, final, preprocessing);
  const image = await rgbPixels(reader(bytes), size, where);
  return preprocessPixels(image, preprocessing);
}

/** Format and upright size of an image, from its header. Throws what `decodeImage` throws. */
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

/** `failOn: "error"` refuses cut files, but not the harmless flaws that cameras leave behind (`"warning"`). */
function reader(bytes: Uint8Array): Sharp {
  return sharp(bytes, { failOn: "error", limitInputPixels: false, autoOrient: true });
}
