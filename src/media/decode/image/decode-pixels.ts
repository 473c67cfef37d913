import sharp, { type Sharp } from "sharp";
import { preprocessPixels } from "../../preprocess-pixels.js";
import type { Image, ImageInfo, ImageWork } from "./image-task.js";
import { checkPixels, decoding, finalSize, handOverSize, rgbPixels } from "./sharp-pixels.js";

/** Runs in the processes of `ImageProcess` only. */

/** Reads the header. `isWide`: RGB with 16 bits per channel. @throws invalid_media, too_large */
export async function imageInfo(image: Image): Promise<{ info: ImageInfo; isWide: boolean }> {
  const { bytes, format, where, maxPixels } = image;
  const { autoOrient, space } = await decoding(where, format, () => reader(bytes).metadata());
  const { height, width } = autoOrient;
  checkPixels({ height, width }, maxPixels, where, "its size");
  return { info: { format, height, width }, isWide: space === "rgb16" };
}

/** See `decodeImage`. */
export async function decodePixels(
  image: Image,
  info: ImageInfo,
  isWide: boolean,
  { preprocessing, augmentation }: Extract<ImageWork, { kind: "pixels" }>,
): Promise<Float32Array> {
  const { bytes, where, maxPixels } = image;
  const final = finalSize(info, preprocessing, maxPixels, where);
  // Vector graphics have no pixel size of their own, so they are rendered at the final size.
  const size = info.format === "svg" ? final : handOverSize(info, final, preprocessing, augmentation);
  const pixels = await rgbPixels(reader(bytes), size, where, isWide).catch(async (error: unknown) => {
    const ended = Buffer.concat([bytes, END_OF_JPEG]);
    if (info.format !== "jpeg" || !(await isIntact(ended))) throw error;
    return rgbPixels(reader(ended), size, where);
  });
  return preprocessPixels(pixels, preprocessing, augmentation);
}

/** `failOn: "error"` rejects truncated files but accepts harmless flaws of camera files (`"warning"`). */
function reader(bytes: Uint8Array): Sharp {
  return sharp(bytes, { failOn: "error", limitInputPixels: false, autoOrient: true });
}

const END_OF_JPEG = Buffer.from([0xff, 0xd9]);

/** Whether every pixel is present: libjpeg only warns about missing ones that are followed by an end marker. */
function isIntact(jpeg: Uint8Array): Promise<boolean> {
  const whole = sharp(jpeg, { failOn: "warning", limitInputPixels: false }).stats();
  return whole.then(
    () => true,
    () => false,
  );
}
