import { join } from "node:path";
import type { BuildOptions } from "../../src/index.js";

/** Golden encoders of each modality with one language model, and the options that build a model folder from them. */

const goldens = "test/fixtures/goldens";
export const ofPictures = join(goldens, "opt-shared-1token");
/** An adapter with two injected states, which fits encoders with two blocks. */
export const ofVideos = join(goldens, "opt-timesformer", "adapter.pth");

function encoderOptions(path: string, more: Partial<BuildOptions["encoder"]> = {}): BuildOptions["encoder"] {
  return { path, given: path, precision: "int8", preprocessing: "source", ...more };
}

export const image = encoderOptions(join(ofPictures, "encoder"));
export const audio = encoderOptions("test/fixtures/backbones/ast");
export const video = encoderOptions("test/fixtures/backbones/timesformer", { frames: 2 });

export function severalModel(output: string, change: Partial<BuildOptions> = {}): BuildOptions {
  const decoder = join(ofPictures, "decoder");
  return {
    output,
    encoder: image,
    otherEncoders: [audio, video],
    decoder: { path: decoder, given: decoder, precision: "int8" },
    adapters: [
      { name: "sounds", path: ofVideos, tasks: ["caption"], modality: "audio" },
      { name: "clips", path: ofVideos, tasks: ["vqa"], modality: "video" },
      { name: "pictures", path: join(ofPictures, "adapter.pth"), tasks: ["caption", "vqa"] },
    ],
    ...change,
  };
}
