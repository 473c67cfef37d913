import sharp from "sharp";
import { MAX_IMAGE_PIXELS } from "./image.js";

/** A small JPEG of a picture that is known to be one, for reports; transparency over white. */
export async function thumbnail(path: string, side: number): Promise<Uint8Array> {
  return sharp(path, { limitInputPixels: MAX_IMAGE_PIXELS })
    .rotate()
    .resize(side, side, { fit: "inside", withoutEnlargement: true })
    .flatten({ background: "white" })
    .jpeg({ quality: 80 })
    .toBuffer();
}
