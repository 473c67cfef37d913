import { EpalmError } from "../../../core/errors.js";
import { frameRandom } from "../../augment/augmentation.js";
import type { FrameImages } from "../../read-media.js";
import { decodeImage, type ImageLimits } from "../image/image.js";
import { chooseFrames } from "./choose-frames.js";
import type { VideoOptions } from "./decode-video.js";

/**
 * Decodes the images of a clip that was sent as a list of images, in order of time and evenly spaced. Frames are chosen
 * as from a video (`chooseFrames`); images that are not chosen are not decoded.
 *
 * @throws the errors of `decodeImage`, which name `media[INDEX]`
 */
export async function decodeFrames(
  { frames: images }: FrameImages,
  { frames, preprocessing, signal, augmentation }: VideoOptions,
  limits: ImageLimits = {},
): Promise<readonly Float32Array[]> {
  const showings = images.map((_, time) => ({ time, duration: 1 }));
  const order = chooseFrames(showings, frames, frameRandom(augmentation));
  const decoded = new Map<number, Float32Array>();
  for (const index of new Set(order)) {
    const image = images[index] ?? new Uint8Array();
    try {
      decoded.set(index, await decodeImage(image, preprocessing, limits, signal, augmentation));
    } catch (error) {
      if (!(error instanceof EpalmError) || !error.message.startsWith("media: ")) throw error;
      throw new EpalmError(error.code, error.message.replace("media", `media[${index}]`), { cause: error });
    }
  }
  return order.flatMap((index) => decoded.get(index) ?? []);
}
