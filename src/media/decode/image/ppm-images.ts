import { unexpected } from "../../../core/errors.js";
import type { RgbImage } from "../../resample.js";

const HEADER = /^P6\s(\d{1,6}) (\d{1,6})\s255\s/;

/** In bytes; no header is longer. */
const MAX_HEADER = 64;

/** Reads consecutive PPM images from a stream; a truncated last image is omitted. */
export async function* ppmImages(output: AsyncIterable<Buffer>, maxPixels: number): AsyncGenerator<RgbImage> {
  let header = Buffer.alloc(0);
  let image: RgbImage | undefined;
  let filled = 0;
  for await (const chunk of output) {
    let rest = chunk;
    while (rest.length > 0) {
      if (image === undefined) {
        header = Buffer.concat([header, rest]);
        const [text, width, height] = HEADER.exec(header.subarray(0, MAX_HEADER).toString("latin1")) ?? [];
        if (text === undefined && header.length < MAX_HEADER) break;
        image = emptyImage(Number(width), Number(height), maxPixels);
        rest = header.subarray(text?.length);
        header = Buffer.alloc(0);
        filled = 0;
      }
      const part = rest.subarray(0, image.data.length - filled);
      image.data.set(part, filled);
      filled += part.length;
      rest = rest.subarray(part.length);
      if (filled < image.data.length) continue;
      yield image;
      image = undefined;
    }
  }
}

function emptyImage(width: number, height: number, maxPixels: number): RgbImage {
  const pixels = width * height;
  if (pixels > 0 && pixels <= maxPixels) return { height, width, data: new Uint8Array(pixels * 3) };
  throw unexpected("internal", "ffmpeg", `an image of at most ${maxPixels} pixels`, pixels);
}
