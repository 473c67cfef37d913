import { decodeImage } from "../media/image.js";
import { type MethodContext, serveThread } from "../runtime/serve-thread.js";
import type { DecodeImage } from "./media-thread.js";

/** The thread behind `MediaThread`. */
serveThread({
  async decodeImage({ input, preprocessing, limits }: DecodeImage, { transfer }: MethodContext) {
    const pixels = await decodeImage(input, preprocessing, limits);
    transfer(pixels.buffer as ArrayBuffer);
    return pixels;
  },
});
