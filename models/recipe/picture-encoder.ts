import { readEncoderFolder, readLabelledPictures } from "../../src/fedmae.js";
import { decodeImage } from "../../src/media/image.js";
import { imagenetPreprocessing, imagenetPreprocessorConfig } from "../../src/model/image-preprocessing.js";
import { sceneInputs } from "./scene-inputs.js";
import { type EncoderTrainingHooks, type LabelledInputs, trainEncoder } from "./train-encoder.js";

export interface PictureEncoderOptions {
  readonly output: string;
  /** Folder of the encoder to begin with. */
  readonly from: string;
  /** Scenes that are drawn anew each time. */
  readonly scenes: { readonly count: number; readonly seed: number };
  /** Labels that `writeSceneSet` wrote, by name. */
  readonly tests: Readonly<Record<string, string>>;
  readonly steps: number;
  readonly batchSize: number;
  readonly testEvery: number;
  readonly threads?: number | undefined;
}

/** Trains an encoder to tell what scenes show; goes on from its checkpoint where it was stopped. */
export async function trainPictureEncoder(
  { from, scenes, tests, steps, ...options }: PictureEncoderOptions,
  hooks: EncoderTrainingHooks = {},
): Promise<void> {
  const { config, tensors } = await readEncoderFolder(from);
  const side = config.image_size;
  const opened = await Promise.all(
    Object.entries(tests).map(async ([name, labels]) => [name, await openPictures(labels, side)] as const),
  );
  await trainEncoder(
    {
      ...options,
      config: { ...config, model_type: "vit" },
      preprocessor: imagenetPreprocessorConfig(side),
      start: tensors,
      training: await sceneInputs({ ...scenes, side, patchSide: config.patch_size }),
      tests: Object.fromEntries(opened),
      steps,
      learningRate: 1e-3,
      weightDecay: 0.05,
      warmupSteps: Math.min(200, Math.ceil(steps / 10)),
      labelSmoothing: 0.05,
      checkpointEvery: 100,
      seed: 0,
    },
    hooks,
  );
}

async function openPictures(labels: string, side: number): Promise<LabelledInputs> {
  const examples = await readLabelledPictures([labels]);
  const preprocessing = imagenetPreprocessing(side);
  return {
    examples,
    input: async (index) => ({ data: await decodeImage(examples[index]?.path ?? "", preprocessing) }),
  };
}
