import { readEncoderFolder, readLabelledImages } from "../../../src/fedmae.js";
import { decodeImage } from "../../../src/media/decode/image/image.js";
import { imagenetPreprocessing, imagenetPreprocessorConfig } from "../../../src/preprocessing/image-preprocessing.js";
import { type LabelledInputs, trainedHeads } from "../../../src/training/index.js";
import { sceneInputs } from "../data/images/scene-inputs.js";
import { withOutputBlock } from "./output-block.js";
import type { LabelSlots } from "./slot-loss.js";
import { type EncoderRunOptions, type SceneEncoderHooks, trainSceneEncoder } from "./train-scene-encoder.js";

export interface ImageEncoderOptions extends EncoderRunOptions {
  /** Folder of the encoder to start from. */
  readonly from: string;
  /** Scenes that are drawn again each time they are used. */
  readonly scenes: { readonly count: number; readonly seed: number };
  /** Paths of the `labels.jsonl` that `writeSceneSet` wrote, by name. */
  readonly tests: Readonly<Record<string, string>>;
}

/** Trains an encoder to classify the content of scenes; resumes from its checkpoint. */
export async function trainImageEncoder(
  { from, scenes, tests, steps, ...options }: ImageEncoderOptions,
  hooks: SceneEncoderHooks = {},
): Promise<void> {
  const { config, tensors } = await readEncoderFolder(from);
  const side = config.image_size;
  await trainSceneEncoder(
    {
      ...options,
      config: { ...config, model_type: "vit" },
      preprocessor: imagenetPreprocessorConfig(side),
      start: tensors,
      training: await sceneInputs({ ...scenes, side, patchSide: config.patch_size }),
      tests: await openTests(tests, side),
      steps,
      warmupSteps: Math.min(200, Math.ceil(steps / 10)),
    },
    hooks,
  );
}

export interface OutputBlockOptions extends ImageEncoderOptions {
  /** The vectors that the language model reads as labels. */
  readonly tables: LabelSlots;
}

/**
 * Attributes whose labels the slots have to distinguish: all except the objects at places, which are hardly recognised.
 */
const readAttributes = ["name", "kind", "count", "background", "texture"];

/**
 * Adds an output block to an encoder that `trainImageEncoder` has trained. The block is trained while the others are
 * frozen, so that a linear map of its state gives the slots that the language model reads. Recovering one name from the
 * states of the other blocks takes a softmax, which a linear map does not have: it would give some weight to each of
 * the 218 names and only slightly more to the right one.
 */
export async function trainOutputBlock(
  { from, scenes, tests, steps, tables, ...options }: OutputBlockOptions,
  hooks: SceneEncoderHooks = {},
): Promise<void> {
  const { config, tensors } = await readEncoderFolder(from);
  const { image_size: side, num_hidden_layers: depth } = config;
  const { examples, input } = await sceneInputs({ ...scenes, side, patchSide: config.patch_size });
  await trainSceneEncoder(
    {
      ...options,
      config: { ...config, model_type: "vit", num_hidden_layers: depth + 1 },
      preprocessor: imagenetPreprocessorConfig(side),
      start: new Map([...withOutputBlock(tensors, depth), ...trainedHeads(from)]),
      trainedBlocks: 1,
      slots: { tables, attributes: readAttributes },
      training: { examples, input },
      tests: await openTests(tests, side),
      steps,
      warmupSteps: Math.ceil(steps / 10),
    },
    hooks,
  );
}

async function openTests(
  tests: Readonly<Record<string, string>>,
  side: number,
): Promise<Record<string, LabelledInputs>> {
  const opened = await Promise.all(
    Object.entries(tests).map(async ([name, labels]) => [name, await openImages(labels, side)] as const),
  );
  return Object.fromEntries(opened);
}

async function openImages(labels: string, side: number): Promise<LabelledInputs> {
  const examples = await readLabelledImages([labels]);
  const preprocessing = imagenetPreprocessing(side);
  return {
    examples,
    input: async (index) => ({ data: await decodeImage(examples[index]?.path ?? "", preprocessing) }),
  };
}
