import sharp from "sharp";
import type { Image } from "./image-task.js";
import { disableCache } from "./sharp-pixels.js";

/** A JPEG of an image that fits into a square of `side` pixels, with transparency over white. @throws invalid_media */
export function makeThumbnail({ bytes }: Image, side: number): Promise<Uint8Array> {
  disableCache();
  return sharp(bytes, { limitInputPixels: false })
    .rotate()
    .resize(side, side, { fit: "inside", withoutEnlargement: true })
    .flatten({ background: "white" })
    .jpeg({ quality: 80 })
    .toBuffer();
}
