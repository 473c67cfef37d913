import { join } from "node:path";
import { z } from "zod";
import { type EncoderBackbone, MAX_IMAGE_SIZE, type Pooling } from "../backbones/backbone.js";
import { count, frameCount, squareSide } from "../backbones/config.js";
import { framesEncoder } from "../backbones/encoders/frames.js";
import type { TimmSettings } from "../backbones/encoders/timm-config.js";
import { encoderPrefix } from "../backbones/encoders/vit.js";
import { ParameterReader } from "../backbones/parameters.js";
import { bareEncoderArchitecture, type EncoderArchitecture, encoderArchitecture } from "../backbones/registry.js";
import { EpalmError, unexpected } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import { parse } from "../core/schema.js";
import { Weights } from "../formats/weights.js";
import type { GraphBuilder } from "../graph/builder.js";
import { ownImagePreprocessing } from "./encoder-preprocessing.js";
import { OPEN_CLIP_CONFIG, type Source } from "./source-folder.js";

/** Default number of frames when an image encoder is used for video: that of the smallest published video encoders. */
const USUAL_FRAMES = 8;

export interface EncoderChoices {
  /** Default: the modality of the checkpoint. An image encoder can also be used for `video`, frame by frame. */
  readonly modality?: Modality | undefined;
  /** Frames per video. Default: as many as the checkpoint was trained with; 8 for an image encoder. */
  readonly frames?: number | undefined;
  /**
   * How tokens become states. Default: as `epalm fedmae` recorded it; otherwise the class token, or the mean of the
   * patches of an encoder without a trained one.
   */
  readonly pooling?: Pooling | undefined;
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
): { readonly backbone: EncoderBackbone; readonly pooling: Pooling; readonly weights: Weights } {
  const modelType = source.config?.model_type;
  const architecture = architectureOf(source);
  const pooling = poolingOf(source, architecture, choices.pooling);
  const prefix = encoderPrefix(source.checkpoint.tensors.keys(), source.checkpoint.path, architecture.firstTensor);
  const rename = (name: string) =>
    name.startsWith(prefix) ? architecture.rename(name.slice(prefix.length), { pooling }) : undefined;
  const weights = new Weights(source.checkpoint, { rename });
  const config =
    modelType === undefined
      ? architecture.configFromTensors((name) => weights.shapeOf(name), {
          ...statedSettings(source),
          ...(choices.heads === undefined ? {} : { heads: choices.heads }),
          path: source.path,
        })
      : source.config;
  const { modality = architecture.modality } = choices;
  const frames = framesOf(modality, choices.frames);
  const parameters = new ParameterReader(g, weights);
  const imageSize = imageSizeOf(source, architecture, choices.imageSize);
  const ofFrames = modality === "video" && architecture.modality === "image";
  const backbone = architecture.build(config, parameters, { imageSize, pooling, ...(ofFrames ? {} : { frames }) });
  if (ofFrames) return { backbone: framesEncoder(g, backbone, frames ?? USUAL_FRAMES), pooling, weights };
  if (backbone.modality === modality) return { backbone, pooling, weights };
  throw unexpected(
    "invalid_option",
    source.path,
    `an encoder for ${modality}`,
    `${backbone.architecture}, which takes ${backbone.modality}`,
  );
}

/** The chosen pooling, or the one that the checkpoint records, or the default one of the architecture. */
function poolingOf(
  { path, config }: Source,
  { poolings = ["cls"] }: EncoderArchitecture,
  chosen: Pooling | undefined,
): Pooling {
  const [usual = "cls"] = poolings;
  const expected = poolings.join(" or ");
  if (chosen !== undefined) {
    if (poolings.includes(chosen)) return chosen;
    throw unexpected("invalid_option", "pooling", `${expected} for ${path}`, chosen);
  }
  const recorded = config?.epalm_pooling;
  if (recorded === undefined) return isTimmMae(config) ? "mean" : usual;
  const known = poolings.find((pooling) => pooling === recorded);
  if (known !== undefined) return known;
  throw unexpected("invalid_checkpoint", `${join(path, "config.json")}: 'epalm_pooling'`, expected, String(recorded));
}

/** timm's tag of a masked autoencoder that was not fine-tuned; for its class token, see `vit_mae` in the registry. */
function isTimmMae(config: Source["config"]): boolean {
  return timmTag.safeParse(config).success;
}

const timmTag = z.object({ pretrained_cfg: z.object({ tag: z.literal("mae") }) });

/** What a timm `config.json` states; the arguments of the model only where they differ from its architecture. */
const timmConfig = z.object({
  architecture: z.string().optional(),
  model_args: z.object({ num_heads: count.optional(), act_layer: z.string().optional() }).optional(),
  pretrained_cfg: z.object({ input_size: z.array(count).optional() }).optional(),
});

/** timm's names of activations whose names in a Hugging Face config differ. */
const timmActivations: Readonly<Record<string, string>> = { gelu_tanh: "gelu_pytorch_tanh", quickgelu: "quick_gelu" };

/** The settings that weights do not determine, in the `config.json` of timm or the `open_clip_config.json`. */
function statedSettings({ config, openClip, path }: Source): TimmSettings {
  if (openClip) {
    const { quick_gelu, vision_cfg } = parse(
      openClipConfig,
      openClip,
      join(path, OPEN_CLIP_CONFIG),
      "unsupported_architecture",
    ).model_cfg;
    // A tower from timm has the activation and the heads of its timm architecture.
    if (vision_cfg.timm_model_name !== undefined) return { inputSize: vision_cfg.image_size };
    const heads = vision_cfg.width / vision_cfg.head_width;
    return { heads, activation: quick_gelu ? "quick_gelu" : "gelu", inputSize: vision_cfg.image_size };
  }
  if (!config) return {};
  const timm = parse(timmConfig, config, join(path, "config.json"), "unsupported_architecture");
  const { num_heads: heads, act_layer } = timm.model_args ?? {};
  const named = timm.architecture?.includes("quickgelu") ? "quick_gelu" : undefined;
  const activation = act_layer === undefined ? named : (timmActivations[act_layer] ?? act_layer);
  return { heads, activation, inputSize: timm.pretrained_cfg?.input_size?.at(-1) };
}

/** The model in an `open_clip_config.json`; defaults as in open_clip's `CLIPVisionCfg`. */
const openClipConfig = z.object({
  model_cfg: z.object({
    quick_gelu: z.boolean().default(false),
    vision_cfg: z.object({
      timm_model_name: z.string().optional(),
      width: count.default(768),
      head_width: count.default(64),
      image_size: squareSide.default(224),
    }),
  }),
});

/** timm's config.json has another format, and single weights files have none: both are identified by their tensors. */
export function architectureOf({ checkpoint, path, config }: Source): EncoderArchitecture {
  const modelType = config?.model_type;
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
