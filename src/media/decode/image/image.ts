import { throwIfAborted } from "../../../core/abort.js";
import { unexpected } from "../../../core/errors.js";
import type { ImagePreprocessing } from "../../../preprocessing/image-preprocessing.js";
import type { Augmentation } from "../../augment/augmentation.js";
import { imageFormatOf, imageFormats, otherFormatOf } from "../../detect/image-format.js";
import { type MediaInput, mediaName, readMedia } from "../../read-media.js";
import { converted } from "./convert-image.js";
import { inImageProcess } from "./image-processes.js";
import type { Image, ImageInfo } from "./image-task.js";
import { checkSvg } from "./svg-complexity.js";

/** In bytes; a JPEG photograph of 48 megapixels takes about half of this. */
export const MAX_IMAGE_BYTES = 32 * 1024 * 1024;

/** Height times width. The largest photographs of common phones (48 megapixels) fit; decoded, they take 150 MB. */
export const MAX_IMAGE_PIXELS = 50_000_000;

export interface ImageLimits {
  /** In bytes, as encoded. Default: `MAX_IMAGE_BYTES`. */
  readonly maxBytes?: number;
  /** Height times width according to the file. Default: `MAX_IMAGE_PIXELS`. */
  readonly maxPixels?: number;
  /** In bytes: temporary files of all media together. Default: `MAX_TEMPORARY_BYTES`. */
  readonly maxTemporaryBytes?: number;
}

/**
 * Decodes JPEG, PNG, WebP, GIF, TIFF, AVIF, SVG, BMP or HEIC (see `converted`) into an encoder's input: `[3, H, W]`,
 * row-major, where H x W is `preprocessing.size`.
 *
 * If there are several frames or pages, the first one is used. The EXIF orientation is applied. Grey, CMYK, 16-bit
 * values and embedded colour profiles are converted to 8-bit sRGB. Transparency is composited over white, as viewers
 * usually do; the published training code (Pillow's `convert("RGB")`) instead reveals the hidden colours, mostly black.
 * SVG is rendered at the required size and loads no external resources. A child process does all this; it is killed if
 * it takes too much time or memory.
 *
 * Images of up to 3 times the final size give the same bits as Pillow (PNG, and JPEG as Pillow 12 decodes it). Larger
 * images are first reduced by libvips. For images of 1600 x 1200 and 4000 x 3000 and a final 224 x 224, the difference
 * from Pillow's bicubic is 0.2 to 0.5 on average and at most 2, in steps of 1/255.
 *
 * @throws unsupported_media (another format, or HEIC that cannot be decoded here), invalid_media (damaged or truncated;
 *   a partial image is rejected, not padded, but a JPEG may lack its end marker), too_large (names the limit),
 *   not_found, aborted
 */
export async function decodeImage(
  input: MediaInput,
  preprocessing: ImagePreprocessing,
  limits: ImageLimits = {},
  signal?: AbortSignal,
  augmentation?: Augmentation,
): Promise<Float32Array> {
  const image = await openImage(input, limits, signal);
  return inImageProcess(image, { kind: "pixels", preprocessing, augmentation }, signal);
}

/** Reads the format and the upright size of an image from its header. @throws the errors of `decodeImage` */
export async function readImageInfo(
  input: MediaInput,
  limits: ImageLimits = {},
  signal?: AbortSignal,
): Promise<ImageInfo> {
  return inImageProcess(await openImage(input, limits, signal), { kind: "info" }, signal);
}

/** Reads an image and detects its format. @throws the errors of `decodeImage` that do not concern its pixels */
export async function openImage(input: MediaInput, limits: ImageLimits, signal?: AbortSignal): Promise<Image> {
  const { maxBytes = MAX_IMAGE_BYTES, maxPixels = MAX_IMAGE_PIXELS } = limits;
  const where = mediaName(input);
  const bytes = await readMedia(input, maxBytes);
  const format = imageFormatOf(bytes);
  if (format === undefined) {
    const expected = imageFormats.join(", ");
    throw unexpected("unsupported_media", where, `an image (${expected})`, otherFormatOf(bytes) ?? "other bytes");
  }
  if (format === "svg") checkSvg(bytes, where);
  throwIfAborted(signal);
  return converted({ bytes, format, where, maxPixels }, limits, signal);
}
