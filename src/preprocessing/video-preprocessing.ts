import { z } from "zod";
import { frameCount } from "../backbones/config.js";
import { imagePreprocessingSchema } from "./image-preprocessing.js";

/** How a video is converted to an encoder's input; stored in the manifest of a model folder. */
export const videoPreprocessingSchema = z.strictObject({
  /** Number of frames, sampled evenly over the whole video. */
  frames: frameCount,
  /** The preprocessing of each frame. */
  picture: imagePreprocessingSchema,
});

export type VideoPreprocessing = z.infer<typeof videoPreprocessingSchema>;
