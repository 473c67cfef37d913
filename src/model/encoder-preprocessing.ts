import { join } from "node:path";
import type { EncoderBackbone } from "../backbones/backbone.js";
import { EpalmError } from "../core/errors.js";
import {
  type AudioPreprocessing,
  parseFeatureExtractorConfig,
  publishedAudioPreprocessing,
} from "../preprocessing/audio-preprocessing.js";
import {
  type ImagePreprocessing,
  parsePreprocessorConfig,
  parseTimmConfig,
  publishedPreprocessing,
} from "../preprocessing/image-preprocessing.js";
import type { EncoderManifest } from "./manifest.js";
import { readJson, type Source } from "./source-folder.js";

/** `source`: as in the checkpoint's own files, otherwise as published. `published`: always as published with eP-ALM. */
export type PreprocessingChoice = "source" | "published";

/** A modality and the preprocessing of its media. */
export type Prepared = EncoderManifest extends infer E
  ? E extends EncoderManifest
    ? Pick<E, "modality" | "preprocessing">
    : never
  : never;

const PROCESSOR_FILE = "preprocessor_config.json";

/**
 * The preprocessing of media for an encoder that was read from a source.
 *
 * @throws unsupported_architecture for unsupported settings
 * @throws invalid_checkpoint if the preprocessed size is not the encoder's input size
 */
export function preprocessingOf(
  source: Source,
  { modality, inputShape }: EncoderBackbone,
  choice: PreprocessingChoice,
): Prepared {
  switch (modality) {
    case "image":
      return { modality, preprocessing: imagePreprocessingOf(source, inputShape[1] ?? 0, choice) };
    case "audio":
      return { modality, preprocessing: audioPreprocessingOf(source, inputShape, choice) };
    case "video": {
      const [frames = 1, , side = 0] = inputShape;
      return { modality, preprocessing: { frames, picture: imagePreprocessingOf(source, side, choice) } };
    }
    default:
      return modality satisfies never;
  }
}

function imagePreprocessingOf(
  { folder, config }: Source,
  side: number,
  choice: PreprocessingChoice,
): ImagePreprocessing {
  const published = publishedPreprocessing(side);
  if (choice === "published") return published;
  const path = join(folder, PROCESSOR_FILE);
  const processor = config && readJson(path);
  const own = processor
    ? parsePreprocessorConfig(processor, path)
    : config?.pretrained_cfg !== undefined
      ? parseTimmConfig(config, join(folder, "config.json"))
      : published;
  if (own.size.height === side && own.size.width === side) return own;
  throw new EpalmError(
    "invalid_checkpoint",
    `${folder}: images are preprocessed to ${own.size.height} x ${own.size.width}, but the encoder takes ${side} x ${side}`,
  );
}

function audioPreprocessingOf(
  { folder, config }: Source,
  [maxLength = 0, melBins = 0]: readonly number[],
  choice: PreprocessingChoice,
): AudioPreprocessing {
  const published = publishedAudioPreprocessing({ maxLength, melBins });
  const path = join(folder, PROCESSOR_FILE);
  const processor = choice === "source" && config ? readJson(path) : undefined;
  if (!processor) return published;
  const own = parseFeatureExtractorConfig(processor, path);
  if (own.maxLength === maxLength && own.melBins === melBins) return own;
  throw new EpalmError(
    "invalid_checkpoint",
    `${folder}: audio is preprocessed to ${own.maxLength} x ${own.melBins} features, but the encoder takes ` +
      `${maxLength} x ${melBins}`,
  );
}
