import sharp from "sharp";

/** @param rgb [height, width, 3], row-major */
export async function encodePng(rgb: Uint8Array, width: number, height: number): Promise<Uint8Array> {
  return sharp(rgb, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}
