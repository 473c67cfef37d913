import type { GraphBuilder } from "../graph/builder.js";
import type { EncoderBackbone } from "./backbone.js";

/**
 * An image encoder over the frames of a video: the states of a video are the means of its frames' states. Tells what is
 * in a video, not in which order; for those who have no video transformer.
 */
export function framesEncoder(g: GraphBuilder, image: EncoderBackbone, frames: number): EncoderBackbone {
  const { inputShape, depth, width } = image;
  return {
    ...image,
    modality: "video",
    inputShape: [frames, ...inputShape],
    states(pixels) {
      const ofFrames = image.states(g.reshape(pixels, [-1, ...inputShape]));
      const ofVideos = g.mean(g.reshape(ofFrames, [-1, frames, depth * width]), 1);
      return g.reshape(ofVideos, [-1, depth, width]);
    },
  };
}
