import { join } from "node:path";
import type { EncoderBackbone } from "../backbones/backbone.js";
import { EpalmError } from "../core/errors.js";
import {
  type AudioPreprocessing,
  parseFeatureExtractorConfig,
  parseWhisperConfig,
  publishedAudioPreprocessing,
  whisperPreprocessing,
} from "../preprocessing/audio-preprocessing.js";
import {
  dinov2Preprocessing,
  dinov3Preprocessing,
  type ImagePreprocessing,
  parseOpenClipConfig,
  parsePreprocessorConfig,
  parseTimmConfig,
  publishedPreprocessing,
  siglipPreprocessing,
  videomaePreprocessing,
  vjepa2Preprocessing,
  withInputSize,
} from "../preprocessing/image-preprocessing.js";
import type { EncoderManifest } from "./manifest.js";
import { OPEN_CLIP_CONFIG, readJson, type Source } from "./source-folder.js";

/** `source`: as in the checkpoint's own files, otherwise as published. `published`: always as published with eP-ALM. */
export type PreprocessingChoice = "source" | "published";

/** A modality and the preprocessing of its media. */
export type Prepared = EncoderManifest extends infer E
  ? E extends EncoderManifest
    ? Pick<E, "modality" | "preprocessing">
    : never
  : never;

/** The file of each kind of processor. */
const processorFiles = {
  image_processor: "preprocessor_config.json",
  video_processor: "video_preprocessor_config.json",
  feature_extractor: "preprocessor_config.json",
} as const;

const JOINT_PROCESSOR_FILE = "processor_config.json";

/** The preprocessing of encoders without files that specify it. Default: as published with eP-ALM. */
const ofArchitecture: ReadonlyMap<string, (side: number) => ImagePreprocessing> = new Map([
  ["dinov2", dinov2Preprocessing],
  ["dinov2_with_registers", dinov2Preprocessing],
  ["dinov3_vit", dinov3Preprocessing],
  ["siglip", siglipPreprocessing],
  ["videomae", videomaePreprocessing],
  ["vjepa2", vjepa2Preprocessing],
]);

/**
 * The preprocessing of media for an encoder that was read from a source.
 *
 * @param imageSize the input size for which the encoder was built, if it was chosen by the user
 * @throws unsupported_architecture for unsupported settings
 * @throws invalid_checkpoint if the preprocessed size is not the encoder's input size
 */
export function preprocessingOf(
  source: Source,
  backbone: EncoderBackbone,
  choice: PreprocessingChoice,
  imageSize?: number,
): Prepared {
  const { modality, inputShape } = backbone;
  const picture = (side: number) => {
    if (choice === "published") return publishedPreprocessing(side);
    return imagePreprocessingOf(source, backbone.architecture, side, imageSize);
  };
  switch (modality) {
    case "image":
      return { modality, preprocessing: picture(inputShape[1] ?? 0) };
    case "audio":
      return { modality, preprocessing: audioPreprocessingOf(source, backbone, choice) };
    case "video": {
      const [frames = 1, , side = 0] = inputShape;
      return { modality, preprocessing: { frames, picture: picture(side) } };
    }
    default:
      return modality satisfies never;
  }
}

/** A processor's settings: in a file of their own, or, as transformers 5 saves them, in one for all processors. */
export function processorOf(folder: string, key: keyof typeof processorFiles) {
  const path = join(folder, processorFiles[key]);
  const own = readJson(path);
  if (own) return { settings: own, path };
  const joint = join(folder, JOINT_PROCESSOR_FILE);
  const settings = readJson(joint)?.[key];
  return settings === undefined ? undefined : { settings, path: joint };
}

/**
 * The preprocessing of images in the files of a checkpoint; undefined if they do not specify it.
 *
 * @throws unsupported_architecture for unsupported settings
 */
export function ownImagePreprocessing({ folder, config, imagePreprocessing }: Source): ImagePreprocessing | undefined {
  if (imagePreprocessing) return imagePreprocessing;
  const processor = config && (processorOf(folder, "image_processor") ?? processorOf(folder, "video_processor"));
  if (processor) return parsePreprocessorConfig(processor.settings, processor.path);
  return config?.pretrained_cfg === undefined ? undefined : parseTimmConfig(config, join(folder, "config.json"));
}

function imagePreprocessingOf(
  source: Source,
  architecture: string,
  side: number,
  imageSize: number | undefined,
): ImagePreprocessing {
  const { folder, openClip } = source;
  const usual = ofArchitecture.get(architecture) ?? publishedPreprocessing;
  const stated = openClip
    ? parseOpenClipConfig(openClip, side, join(folder, OPEN_CLIP_CONFIG))
    : ownImagePreprocessing(source);
  const given = stated ?? usual(side);
  const own = imageSize === undefined ? given : withInputSize(given, imageSize);
  if (own.size.height === side && own.size.width === side) return own;
  throw new EpalmError(
    "invalid_checkpoint",
    `${folder}: images are preprocessed to ${own.size.height} x ${own.size.width}, but the encoder takes ${side} x ${side}`,
  );
}

const audioFeatures = {
  kaldi: { published: publishedAudioPreprocessing, read: parseFeatureExtractorConfig },
  whisper: { published: whisperPreprocessing, read: parseWhisperConfig },
} as const;

function audioPreprocessingOf(
  { folder, config }: Source,
  { features = "kaldi", inputShape }: EncoderBackbone,
  choice: PreprocessingChoice,
): AudioPreprocessing {
  const [maxLength = 0, melBins = 0] = inputShape;
  const { published, read } = audioFeatures[features];
  const processor = choice === "source" && config ? processorOf(folder, "feature_extractor") : undefined;
  if (!processor) return published({ maxLength, melBins });
  const own = read(processor.settings, processor.path);
  if (own.maxLength === maxLength && own.melBins === melBins) return own;
  throw new EpalmError(
    "invalid_checkpoint",
    `${folder}: audio is preprocessed to ${own.maxLength} x ${own.melBins} features, but the encoder takes ` +
      `${maxLength} x ${melBins}`,
  );
}
