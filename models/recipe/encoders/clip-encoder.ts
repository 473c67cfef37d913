import { randomStreams } from "../../../src/core/random.js";
import { readEncoderFolder } from "../../../src/fedmae.js";
import { EpalmError } from "../../../src/index.js";
import { encoderInput } from "../../../src/media/encoder-input.js";
import { imagenetPreprocessing, imagenetPreprocessorConfig } from "../../../src/preprocessing/image-preprocessing.js";
import { floats, type Tensor } from "../../../src/tensor/tensor.js";
import { classesOf, filled, headName, type LabelledInputs, normal, trainedHeads } from "../../../src/training/index.js";
import { clipInputs } from "../data/clips/clip-inputs.js";
import { readLabelledMedia } from "../data/labelled-media.js";
import { type EncoderRunOptions, type SceneEncoderHooks, trainSceneEncoder } from "./train-scene-encoder.js";

/**
 * Half as many frames as published. On one core, a step of 16 clips takes 1.25 seconds with four frames and 2.45
 * seconds with eight. A clip shows one steady action, or an object that appears near the middle, so four frames contain
 * as much information as eight. A shallower encoder would save as much time but lose the upper blocks, in which objects
 * are named.
 */
const FRAMES = 4;

const TIMES_SEED = 9;

/** Number of clips per test: reading a clip from its file takes as long as a training example. */
const TESTED = 300;

export interface ClipEncoderOptions extends EncoderRunOptions {
  /** Folder of the image encoder that gives the sizes and the initial weights. */
  readonly from: string;
  /** Clips that are drawn again each time they are used. */
  readonly clips: { readonly count: number; readonly seed: number };
  /** Folders that `writeClipSet` wrote, by name. */
  readonly tests: Readonly<Record<string, string>>;
}

/** Trains a TimeSformer to classify the content of clips; resumes from its checkpoint. */
export async function trainClipEncoder(
  { from, clips, tests, steps, ...options }: ClipEncoderOptions,
  hooks: SceneEncoderHooks = {},
): Promise<void> {
  const { config, tensors } = await readEncoderFolder(from);
  const side = config.image_size;
  const training = await clipInputs({ ...clips, side, patchSide: config.patch_size, frames: FRAMES });
  await trainSceneEncoder(
    {
      ...options,
      config: {
        ...config,
        model_type: "timesformer",
        architectures: ["TimesformerModel"],
        num_frames: FRAMES,
        attention_type: "divided_space_time",
      },
      preprocessor: imagenetPreprocessorConfig(side),
      start: new Map([
        ...inflated(tensors, FRAMES),
        ["time_embed", firstTimes(tensors)],
        ...headsFor(training, trainedHeads(from)),
      ]),
      training,
      tests: Object.fromEntries(Object.entries(tests).map(([name, set]) => [name, openClips(set, side)])),
      steps,
      warmupSteps: Math.min(100, Math.ceil(steps / 10)),
    },
    hooks,
  );
}

/**
 * Initial tensors of a TimeSformer, made from those of a vision transformer. Attention over time is a copy of attention
 * over space, followed by a linear layer of zeros, so that the model sees each frame as the vision transformer does. As
 * published (facebookresearch/TimeSformer, `vit.py` and `helpers.py`).
 *
 * @throws invalid_checkpoint if the tensor `cls_token` is missing
 */
export function inflated(image: ReadonlyMap<string, Tensor>, frames: number): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  const zeros = (name: string, shape: readonly number[]) =>
    tensors.set(name, { type: "float32", shape, data: filled(shape, 0) });
  for (const [name, tensor] of image) {
    tensors.set(name, tensor);
    const [, block, part] = /^(blocks\.\d+)\.(attn\..+|norm1\..+)$/.exec(name) ?? [];
    if (part === undefined) continue;
    tensors.set(`${block}.temporal_${part}`, tensor);
    if (part === "attn.proj.weight") zeros(`${block}.temporal_fc.weight`, tensor.shape);
    if (part === "attn.proj.bias") zeros(`${block}.temporal_fc.bias`, tensor.shape);
  }
  const classToken = image.get("cls_token");
  if (!classToken) throw new EpalmError("invalid_checkpoint", "image encoder: tensor cls_token is missing");
  zeros("time_embed", [1, frames, classToken.shape.at(-1) ?? 0]);
  return tensors;
}

/** Std of the initial time embeddings relative to that of the position embeddings. */
const TIMES_SHARE = 0.3;

/**
 * Initial time embeddings. The published code starts from zeros; then attention cannot distinguish the frames for
 * hundreds of steps, and actions are learned late. (Directions of movement are not learned within 1,400 steps in either
 * case.)
 */
function firstTimes(image: ReadonlyMap<string, Tensor>): Tensor {
  const places = floats(image.get("pos_embed"));
  const std = Math.sqrt(places.reduce((sum, value) => sum + value * value, 0) / places.length);
  const [random = Math.random] = randomStreams(TIMES_SEED, 1);
  const shape = [1, FRAMES, image.get("cls_token")?.shape.at(-1) ?? 0];
  return { type: "float32", shape, data: normal(random, shape, TIMES_SHARE * std) };
}

/**
 * Heads that were trained on images, for the attributes of clips that have the same labels. With random heads, the
 * first steps would undo what the encoder has learned.
 */
function headsFor({ examples, patchLabels = new Map() }: LabelledInputs, trained: ReadonlyMap<string, Tensor>) {
  const heads = new Map<string, Tensor>();
  for (const [attribute, { length }] of [...classesOf(examples), ...patchLabels]) {
    const alike = attribute.endsWith(" thing") ? "name" : attribute;
    for (const part of ["weight", "bias"]) {
      const tensor = trained.get(`${headName(alike)}.${part}`);
      if (tensor?.shape[0] === length) heads.set(`${headName(attribute)}.${part}`, tensor);
    }
  }
  return heads;
}

/** The first clips of a set, decoded as in a served model. */
function openClips(set: string, side: number): LabelledInputs {
  const examples = readLabelledMedia(set, "video").slice(0, TESTED);
  const preprocessing = { frames: FRAMES, picture: imagenetPreprocessing(side) };
  return {
    examples,
    input: async (index) => ({
      data: await encoderInput(examples[index]?.path ?? "", { modality: "video", preprocessing }),
    }),
  };
}
