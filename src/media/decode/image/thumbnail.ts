import sharp, { type Sharp } from "sharp";
import type { Modality } from "../../../core/modality.js";
import { decodeVideo } from "../video/decode-video.js";
import { openImage } from "./image.js";
import { inImageProcess } from "./image-processes.js";
import { disableCache } from "./sharp-pixels.js";

/**
 * Creates a small JPEG for reports: of an image, with transparency over white, or of the centre of a video's middle
 * frame. Returns undefined for audio.
 *
 * @param side side of the square into which the thumbnail fits, in pixels
 * @throws an error if the file cannot be read as a medium of the given modality
 */
export async function thumbnail(
  { path, modality }: { readonly path: string; readonly modality: Modality },
  side: number,
): Promise<Uint8Array | undefined> {
  switch (modality) {
    case "image":
      return inImageProcess(await openImage(path, {}), { kind: "thumbnail", side }, undefined);
    case "video":
      return (await middleFrame(path, side)).jpeg({ quality: 80 }).toBuffer();
    case "audio":
      return undefined;
    default:
      return modality satisfies never;
  }
}

/** Preprocessed as for an encoder, but without normalisation. */
async function middleFrame(path: string, side: number): Promise<Sharp> {
  const size = { height: side, width: side };
  const [frame = new Float32Array(3 * side * side)] = await decodeVideo(path, {
    frames: 1,
    preprocessing: {
      size,
      resize: { mode: "shortest-edge", length: side },
      resample: "bicubic",
      rescaleFactor: 1,
      mean: [0, 0, 0],
      std: [1, 1, 1],
    },
  });
  const pixels = side * side;
  // [3, side, side] -> [side, side, 3]
  const rgb = Uint8Array.from({ length: 3 * pixels }, (_, at) => frame[(at % 3) * pixels + Math.floor(at / 3)] ?? 0);
  disableCache();
  return sharp(rgb, { raw: { ...size, channels: 3 } });
}
