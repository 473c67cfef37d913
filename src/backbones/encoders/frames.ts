import type { GraphBuilder } from "../../graph/builder.js";
import type { EncoderBackbone } from "../backbone.js";

/**
 * Applies an image encoder to the frames of a video and averages their states. The states represent the content of
 * the video but not the order of events; useful if no video encoder is available.
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
