import { z } from "zod";
import { frameCount } from "../backbones/config.js";
import { imagePreprocessingSchema } from "./image-preprocessing.js";

/** How a video becomes an encoder's input; stored in the manifest of a model folder. */
export const videoPreprocessingSchema = z.strictObject({
  /** How many frames are taken, evenly over the whole video. */
  frames: frameCount,
  /** What is done with each of them. */
  picture: imagePreprocessingSchema,
});

export type VideoPreprocessing = z.infer<typeof videoPreprocessingSchema>;
