import { join } from "node:path";
import { z } from "zod";
import { type EncoderBackbone, MAX_IMAGE_SIZE } from "../backbones/backbone.js";
import { count, frameCount } from "../backbones/config.js";
import { framesEncoder } from "../backbones/frames.js";
import { ParameterReader } from "../backbones/parameters.js";
import { bareEncoderArchitecture, type EncoderArchitecture, encoderArchitecture } from "../backbones/registry.js";
import { encoderPrefix } from "../backbones/vit.js";
import { EpalmError, unexpected } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import { parse } from "../core/schema.js";
import { Weights } from "../formats/weights.js";
import type { GraphBuilder } from "../graph/builder.js";
import { ownImagePreprocessing } from "./encoder-preprocessing.js";
import type { Source } from "./source-folder.js";

/** Default number of frames when an image encoder is used for video: that of the smallest published video encoders. */
const USUAL_FRAMES = 8;

export interface EncoderChoices {
  /** Default: the modality of the checkpoint. An image encoder can also be used for `video`, frame by frame. */
  readonly modality?: Modality | undefined;
  /** Frames per video. Default: as many as the checkpoint was trained with; 8 for an image encoder. */
  readonly frames?: number | undefined;
  /** Attention heads, if the files do not specify them. Default: that of published encoders of the same width. */
  readonly heads?: number | undefined;
  /**
   * Width and height of the images, in pixels, for encoders whose positions can be computed for any size (DINOv2,
   * DINOv3). Default: the size of the checkpoint's own preprocessing.
   */
  readonly imageSize?: number | undefined;
}

/**
 * Reads the backbone of a public checkpoint. `weights` keeps track of the tensors that were used.
 *
 * @throws unsupported_architecture, invalid_checkpoint; invalid_option for choices that the checkpoint does not allow
 */
export function readEncoder(
  g: GraphBuilder,
  source: Source,
  choices: EncoderChoices,
): { readonly backbone: EncoderBackbone; readonly weights: Weights } {
  const modelType = source.config?.model_type;
  const architecture = architectureOf(source, modelType);
  const prefix = encoderPrefix(source.checkpoint.tensors.keys(), source.checkpoint.path);
  const rename = (name: string) =>
    name.startsWith(prefix) ? architecture.rename(name.slice(prefix.length)) : undefined;
  const weights = new Weights(source.checkpoint, { rename });
  const config =
    modelType === undefined
      ? architecture.configFromTensors((name) => weights.shapeOf(name), {
          heads: choices.heads ?? timmHeads(source),
          path: source.path,
        })
      : source.config;
  const { modality = architecture.modality } = choices;
  const frames = framesOf(modality, choices.frames);
  const parameters = new ParameterReader(g, weights);
  const imageSize = imageSizeOf(source, architecture, choices.imageSize);
  const ofFrames = modality === "video" && architecture.modality === "image";
  const backbone = architecture.build(config, parameters, { imageSize, ...(ofFrames ? {} : { frames }) });
  if (ofFrames) return { backbone: framesEncoder(g, backbone, frames ?? USUAL_FRAMES), weights };
  if (backbone.modality === modality) return { backbone, weights };
  throw unexpected(
    "invalid_option",
    source.path,
    `an encoder for ${modality}`,
    `${backbone.architecture}, which takes ${backbone.modality}`,
  );
}

const timmModelArgs = z.object({ model_args: z.object({ num_heads: count.optional() }).optional() });

/** The number of heads in a timm `config.json`, which states it only for models that differ from their architecture. */
function timmHeads({ config, path }: Source): number | undefined {
  return (
    config && parse(timmModelArgs, config, join(path, "config.json"), "unsupported_architecture").model_args?.num_heads
  );
}

/** timm's config.json has another format, and single weights files have none: both are identified by their tensors. */
function architectureOf({ checkpoint, path }: Source, modelType: unknown): EncoderArchitecture {
  if (typeof modelType === "string") return encoderArchitecture(modelType, path);
  return bareEncoderArchitecture(checkpoint.tensors.keys());
}

/** The given size, or that of the checkpoint's preprocessing if the encoder can be built for it. */
function imageSizeOf(
  source: Source,
  { anyImageSize = false }: EncoderArchitecture,
  given: number | undefined,
): number | undefined {
  if (given !== undefined && (!Number.isInteger(given) || given < 1 || given > MAX_IMAGE_SIZE)) {
    throw unexpected("invalid_option", "imageSize", `an integer from 1 to ${MAX_IMAGE_SIZE}`, given);
  }
  if (anyImageSize) return given ?? ownImagePreprocessing(source)?.size.height;
  if (given === undefined) return undefined;
  const expected = "only with an encoder whose positions can be computed for any size (DINOv2, DINOv3)";
  throw unexpected("invalid_option", "imageSize", expected, source.path);
}

function framesOf(modality: Modality, frames: number | undefined): number | undefined {
  if (frames === undefined) return undefined;
  if (modality !== "video") {
    throw unexpected("invalid_option", "frames", "only with a video encoder", `an ${modality} encoder`);
  }
  const result = frameCount.safeParse(frames);
  if (result.success) return result.data;
  throw new EpalmError("invalid_option", `frames: ${result.error.issues[0]?.message}, got ${frames}`);
}
