import { z } from "zod";
import type { Modality } from "../../core/modality.js";
import { MAX_MAGNITUDE } from "./rand-augment.js";

/** More would leave nothing of an image. */
const MAX_OPERATIONS = 10;

/** Larger masks than any encoder's input indicate a mistake; see `MAX_FRAMES` of the audio preprocessing. */
const MAX_MASK = 65_536;

const share = z.number().gt(0).max(1);
const mask = z.int().min(0).max(MAX_MASK);

/** Random changes of media, none by default; docs/training.md describes them. */
export const augmentSettingsSchema = z.strictObject({
  /** Images and videos: a random part, as torchvision's RandomResizedCrop. */
  randomResizedCrop: z
    .strictObject({
      /** Smallest and largest area of the part, as fractions of the image's area. */
      scale: z.tuple([share, share]).refine(([least, most]) => least <= most, "expected the smaller fraction first"),
    })
    .optional(),
  /** Images and videos: probability with which an image is mirrored. */
  flip: share.optional(),
  /** Images and videos: random operations, as RandAugment in the published code. */
  randAugment: z
    .strictObject({
      /** Number of operations that are drawn; each is applied with probability 0.5. */
      operations: z.int().min(1).max(MAX_OPERATIONS),
      magnitude: z.number().min(0).max(MAX_MAGNITUDE),
    })
    .optional(),
  /** Audio: largest widths of one band of mel bins and of one range of frames that are masked. */
  specAugment: z.strictObject({ frequency: mask, time: mask }).optional(),
  /** Audio: noise and a small shift in time, as AST's training. */
  noise: z.boolean().optional(),
  /** Video: a random frame of each part of the video instead of its middle frame. */
  randomFrames: z.boolean().optional(),
});

export type AugmentSettings = z.infer<typeof augmentSettingsSchema>;

/** The modalities to which each augmentation applies. */
export const augmentedModalities: Readonly<Record<keyof AugmentSettings, readonly Modality[]>> = {
  randomResizedCrop: ["image", "video"],
  flip: ["image", "video"],
  randAugment: ["image", "video"],
  specAugment: ["audio"],
  noise: ["audio"],
  randomFrames: ["video"],
};
