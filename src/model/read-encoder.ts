import type { EncoderBackbone } from "../backbones/backbone.js";
import { frameCount } from "../backbones/config.js";
import { framesEncoder } from "../backbones/frames.js";
import { ParameterReader } from "../backbones/parameters.js";
import { bareEncoderArchitecture, type EncoderArchitecture, encoderArchitecture } from "../backbones/registry.js";
import { EpalmError, unexpected } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import { Weights } from "../formats/weights.js";
import type { GraphBuilder } from "../graph/builder.js";
import type { Source } from "./source-folder.js";

/** Frames of a video, where an image encoder takes them one by one; as the smallest published video encoders. */
const USUAL_FRAMES = 8;

export interface EncoderChoices {
  /** Default: what the checkpoint is for. `video` takes an image encoder, too, over the frames. */
  readonly modality?: Modality | undefined;
  /** Of a video; default: as many as the checkpoint was trained with, 8 for an image encoder. */
  readonly frames?: number | undefined;
  /** Attention heads, where the files do not tell; default: width / 64, as in all of timm's usual models. */
  readonly heads?: number | undefined;
}

/**
 * The backbone in a public checkpoint, and its weights as they are taken.
 *
 * @throws unsupported_architecture, invalid_checkpoint; invalid_option for choices that it leaves no room for
 */
export function readEncoder(
  g: GraphBuilder,
  source: Source,
  choices: EncoderChoices,
): { readonly backbone: EncoderBackbone; readonly weights: Weights } {
  const modelType = source.config?.model_type;
  const architecture = architectureOf(source, modelType);
  const weights = new Weights(source.checkpoint, { rename: architecture.rename });
  const config =
    modelType === undefined
      ? architecture.configFromTensors((name) => weights.shapeOf(name), { heads: choices.heads })
      : source.config;
  const { modality = architecture.modality } = choices;
  const frames = framesOf(modality, choices.frames);
  const parameters = new ParameterReader(g, weights);
  const ofFrames = modality === "video" && architecture.modality === "image";
  const backbone = architecture.build(config, parameters, ofFrames ? {} : { frames });
  if (ofFrames) return { backbone: framesEncoder(g, backbone, frames ?? USUAL_FRAMES), weights };
  if (backbone.modality === modality) return { backbone, weights };
  throw unexpected(
    "invalid_option",
    source.path,
    `an encoder of ${modality}`,
    `${backbone.architecture}, which takes ${backbone.modality}`,
  );
}

/** timm's folders have a config.json of another kind, bare files none: their tensors tell what they are. */
function architectureOf({ checkpoint, path }: Source, modelType: unknown): EncoderArchitecture {
  if (typeof modelType === "string") return encoderArchitecture(modelType, path);
  return bareEncoderArchitecture(checkpoint.tensors.keys());
}

function framesOf(modality: Modality, frames: number | undefined): number | undefined {
  if (frames === undefined) return undefined;
  if (modality !== "video") {
    throw unexpected("invalid_option", "frames", "with an encoder of video", `one of ${modality}`);
  }
  const result = frameCount.safeParse(frames);
  if (result.success) return result.data;
  throw new EpalmError("invalid_option", `frames: ${result.error.issues[0]?.message}, got ${frames}`);
}
