import { z } from "zod";
import { MAX_IMAGE_SIZE } from "../backbones/backbone.js";
import { EpalmError, type ErrorCode } from "../core/errors.js";
import { parse } from "../core/schema.js";

const side = z.int().min(1).max(MAX_IMAGE_SIZE);
const sizeSchema = z.strictObject({ height: side, width: side });
const channels = z.tuple([z.number(), z.number(), z.number()]);
const resampleSchema = z.enum(["nearest", "bilinear", "bicubic", "lanczos"]);
const resizeSchema = z.discriminatedUnion("mode", [
  z.strictObject({ mode: z.literal("squash"), ...sizeSchema.shape, longestEdgeFirst: side.optional() }),
  z.strictObject({ mode: z.literal("shortest-edge"), length: side }),
]);

export type ImageSize = z.infer<typeof sizeSchema>;
export type Resample = z.infer<typeof resampleSchema>;
export type Resize = z.infer<typeof resizeSchema>;

/**
 * How an image is converted to an encoder's input; stored in the manifest of a model folder. The image is resized,
 * cropped to `size` around its centre, and normalised to `(value * rescaleFactor - mean) / std` per channel.
 */
export const imagePreprocessingSchema = z
  .strictObject({
    /** Input size of the encoder, in pixels. */
    size: sizeSchema,
    /**
     * `squash`: to exactly this size, without keeping the aspect ratio; with `longestEdgeFirst`, the longer side is
     * resized to this length before (Idefics3). `shortest-edge`: shorter side to `length`.
     */
    resize: resizeSchema,
    /** The filter, as in Pillow: it is widened when an image is reduced. */
    resample: resampleSchema,
    /** Values between resizing and normalisation. Default: rounded to bytes, as in Pillow. */
    resizedValues: z.literal("floats").optional(),
    /** Maps values from 0…255 to the range of `mean` and `std`; 1 leaves them unchanged. */
    rescaleFactor: z.number().positive(),
    /** Red, green, blue; zeros for no shift. */
    mean: channels,
    /** Red, green, blue; ones for no scaling. */
    std: channels.refine((values) => values.every((value) => value > 0), "expected numbers above 0"),
  })
  .refine(cropFits, "expected the resized image to be at least as large as `size`")
  .meta({ id: "picture" });

export type ImagePreprocessing = z.infer<typeof imagePreprocessingSchema>;
type ChannelScale = Pick<ImagePreprocessing, "mean" | "std">;

const ONE_BYTE = 1 / 255;
const CLIP = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
} satisfies ChannelScale;
const HALF = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } satisfies ChannelScale;
const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } satisfies ChannelScale;

/** The preprocessing published with eP-ALM: squash to a square of `size` pixels, bicubic, CLIP's mean and std. */
export function publishedPreprocessing(size: number): ImagePreprocessing {
  return squashed(size, CLIP);
}

/** The preprocessing of SigLIP: squash, bicubic, values between -1 and 1. */
export function siglipPreprocessing(size: number): ImagePreprocessing {
  return squashed(size, HALF);
}

/** The preprocessing of masked autoencoders: squash, bicubic, ImageNet's mean and std. */
export function imagenetPreprocessing(size: number): ImagePreprocessing {
  return squashed(size, IMAGENET);
}

function squashed(size: number, scale: ChannelScale): ImagePreprocessing {
  const square = { height: size, width: size };
  const resize: Resize = { mode: "squash", ...square };
  return valid(
    { size: square, resize, resample: "bicubic", rescaleFactor: ONE_BYTE, ...scale },
    `preprocessing for ${size} pixels`,
    "invalid_option",
  );
}

/** DINOv2's preprocessing as published: for 224 pixels, the shorter side to 256, then a crop around the centre. */
export function dinov2Preprocessing(size: number): ImagePreprocessing {
  const resize: Resize = { mode: "shortest-edge", length: Math.round((size * 256) / 224) };
  return { ...squashed(size, IMAGENET), resize };
}

/** The preprocessing published with VideoMAE: the shorter side to `size`, then a crop around the centre, bilinear. */
export function videomaePreprocessing(size: number): ImagePreprocessing {
  return { ...squashed(size, IMAGENET), resize: { mode: "shortest-edge", length: size }, resample: "bilinear" };
}

/** V-JEPA 2's preprocessing as published: for 256 pixels, the shorter side to 292, then a crop, bilinear. */
export function vjepa2Preprocessing(size: number): ImagePreprocessing {
  return { ...squashed(size, IMAGENET), resize: vjepa2Resize(toSize(size)), resample: "bilinear" };
}

function vjepa2Resize({ height }: ImageSize): Resize {
  return { mode: "shortest-edge", length: Math.floor((height * 256) / 224) };
}

/** DINOv3's preprocessing as published: squash, bilinear, without rounding. */
export function dinov3Preprocessing(size: number): ImagePreprocessing {
  return { ...squashed(size, IMAGENET), resample: "bilinear", resizedValues: "floats" };
}

/**
 * The same preprocessing for another input size; the fraction of the image that is cropped stays the same.
 *
 * @throws invalid_option if the size is invalid
 */
export function withInputSize(preprocessing: ImagePreprocessing, side: number): ImagePreprocessing {
  const { size, resize } = preprocessing;
  const grown = (length: number, from: number) => Math.max(side, Math.round((length * side) / from));
  const [height, width] = [size.height, size.width];
  return valid(
    {
      ...preprocessing,
      size: { height: side, width: side },
      resize:
        resize.mode === "squash"
          ? { mode: "squash", height: grown(resize.height, height), width: grown(resize.width, width) }
          : { mode: "shortest-edge", length: grown(resize.length, Math.min(height, width)) },
    },
    `preprocessing for ${side} pixels`,
    "invalid_option",
  );
}

/** The `preprocessor_config.json` that is equivalent to `imagenetPreprocessing`. */
export function imagenetPreprocessorConfig(size: number): Readonly<Record<string, unknown>> {
  return {
    image_processor_type: "ViTImageProcessor",
    do_resize: true,
    size: { height: size, width: size },
    resample: pillowResample.indexOf("bicubic"),
    do_rescale: true,
    rescale_factor: ONE_BYTE,
    do_normalize: true,
    image_mean: IMAGENET.mean,
    image_std: IMAGENET.std,
  };
}

/** Defaults of a Hugging Face image or video processor for keys that its file does not contain. */
interface ProcessorDefaults extends ChannelScale {
  readonly resample: Resample;
  readonly size: z.infer<typeof processorSize>;
  /** The meaning of a bare number in `size`. */
  readonly bareSize: "square" | "shortest_edge";
  readonly crop: boolean;
  /** Default: 224. */
  readonly cropSize?: number;
  /** The resize that the processor computes from the size of the crop, whatever the file states. */
  readonly resizeFor?: (crop: ImageSize) => Resize;
  readonly resizedValues?: "floats";
}

const processorSize = z.union([
  side,
  z.strictObject({ height: side, width: side }),
  z.strictObject({ shortest_edge: side }),
]);

const shortest224 = { size: { shortest_edge: 224 }, bareSize: "shortest_edge", crop: true } as const;

/** Source: transformers 5.18, `models/<name>/image_processing_<name>.py` and `video_processing_<name>.py`. */
const processors: Readonly<Record<string, ProcessorDefaults>> = {
  ViT: { resample: "bilinear", size: { height: 224, width: 224 }, bareSize: "square", crop: false, ...HALF },
  DeiT: { resample: "bicubic", size: { height: 256, width: 256 }, bareSize: "square", crop: true, ...HALF },
  CLIP: { resample: "bicubic", ...shortest224, ...CLIP },
  Siglip: { resample: "bicubic", size: { height: 224, width: 224 }, bareSize: "square", crop: false, ...HALF },
  Bit: { resample: "bicubic", ...shortest224, ...CLIP },
  DINOv3ViT: {
    resample: "bilinear",
    size: { height: 224, width: 224 },
    bareSize: "square",
    crop: false,
    resizedValues: "floats",
    ...IMAGENET,
  },
  VideoMAE: { resample: "bilinear", ...shortest224, ...HALF },
  Timesformer: { resample: "bilinear", ...shortest224, ...IMAGENET },
  VJEPA2: { resample: "bilinear", ...shortest224, cropSize: 256, resizeFor: vjepa2Resize, ...IMAGENET },
  Llava: { resample: "bicubic", ...shortest224, ...CLIP },
};

/** `PIL.Image.Resampling`; no supported encoder uses box (4) or Hamming (5). */
const pillowResample: readonly Resample[] = ["nearest", "lanczos", "bilinear", "bicubic"];
const pillowNumber = z.literal([0, 1, 2, 3]).transform((number) => pillowResample[number] ?? "bicubic");

const off = z.literal(false).optional();
const processorConfig = z.object({
  image_processor_type: z.string().optional(),
  video_processor_type: z.string().optional(),
  feature_extractor_type: z.string().optional(),
  do_resize: z.literal(true).default(true),
  size: processorSize.optional(),
  resample: pillowNumber.optional(),
  do_center_crop: z.boolean().optional(),
  crop_size: z.union([side, sizeSchema]).optional(),
  do_rescale: z.boolean().default(true),
  rescale_factor: z.number().positive().default(ONE_BYTE),
  do_normalize: z.boolean().default(true),
  image_mean: channels.optional(),
  image_std: channels.optional(),
  do_pad: off,
  do_flip_channel_order: off,
  do_grayscale: off,
  offset: off,
});

/**
 * Reads a `preprocessor_config.json` or `video_preprocessor_config.json` of Hugging Face for the processors above and
 * their `FeatureExtractor`, `Fast` and `VideoProcessor` forms. A file that names no processor is read as ViT's.
 *
 * @param where the file's name in errors
 * @throws unsupported_architecture for an unsupported value, naming its key
 */
export function parsePreprocessorConfig(json: unknown, where: string): ImagePreprocessing {
  const config = parse(processorConfig, json, where, "unsupported_architecture");
  const type = config.image_processor_type ?? config.video_processor_type ?? config.feature_extractor_type;
  const defaults = processorDefaults(type, where);
  const crop = toSize(config.crop_size ?? defaults.cropSize ?? 224);
  const resize = defaults.resizeFor?.(crop) ?? processorResize(config.size ?? defaults.size, defaults.bareSize);
  const cropped = config.do_center_crop ?? defaults.crop;
  if (!cropped && resize.mode === "shortest-edge") {
    throw unsupported(where, "'do_center_crop': expected true together with 'size.shortest_edge', got false");
  }
  const whole = resize.mode === "squash" ? { height: resize.height, width: resize.width } : undefined;
  return valid(
    {
      size: cropped || whole === undefined ? crop : whole,
      resize,
      resample: config.resample ?? defaults.resample,
      ...(defaults.resizedValues && { resizedValues: defaults.resizedValues }),
      rescaleFactor: config.do_rescale ? config.rescale_factor : 1,
      mean: config.do_normalize ? (config.image_mean ?? defaults.mean) : [0, 0, 0],
      std: config.do_normalize ? (config.image_std ?? defaults.std) : [1, 1, 1],
    },
    where,
    "unsupported_architecture",
  );
}

/** The image processors of Idefics3 and SmolVLM; defaults as in transformers. */
const ideficsProcessor = z.object({
  image_processor_type: z.enum(["Idefics3", "SmolVLM"].flatMap((name) => processorForms(name))),
  do_resize: z.literal(true).default(true),
  size: z.strictObject({ longest_edge: side }).default({ longest_edge: 4 * 364 }),
  max_image_size: z.looseObject({ longest_edge: side }).default({ longest_edge: 364 }),
  resample: pillowNumber.default("lanczos"),
  do_rescale: z.boolean().default(true),
  rescale_factor: z.number().positive().default(ONE_BYTE),
  do_normalize: z.boolean().default(true),
  image_mean: channels.default(HALF.mean),
  image_std: channels.default(HALF.std),
});

/**
 * Reads the `preprocessor_config.json` of Idefics3 and SmolVLM as with `do_image_splitting=False`: images become one
 * square.
 *
 * @throws unsupported_architecture for an unsupported value, naming its key
 */
export function parseIdeficsProcessor(json: unknown, where: string): ImagePreprocessing {
  const config = parse(ideficsProcessor, json, where, "unsupported_architecture");
  const size = toSize(config.max_image_size.longest_edge);
  return valid(
    {
      size,
      resize: { mode: "squash", ...size, longestEdgeFirst: config.size.longest_edge },
      resample: config.resample,
      rescaleFactor: config.do_rescale ? config.rescale_factor : 1,
      mean: config.do_normalize ? config.image_mean : [0, 0, 0],
      std: config.do_normalize ? config.image_std : [1, 1, 1],
    },
    where,
    "unsupported_architecture",
  );
}

/** The overview of LLaVA-NeXT, for which the whole image is squashed to the shorter side of its processor's size. */
export function parseLlavaNextProcessor(json: unknown, where: string): ImagePreprocessing {
  const { image_processor_type: type } = z.looseObject({ image_processor_type: z.string().optional() }).parse(json);
  if (!processorForms("LlavaNext").includes(type ?? "")) return parsePreprocessorConfig(json, where);
  const asLlava = parsePreprocessorConfig(
    { ...Object(json), image_processor_type: "LlavaImageProcessor", do_pad: false },
    where,
  );
  const { resize } = asLlava;
  const length = resize.mode === "squash" ? Math.min(resize.height, resize.width) : resize.length;
  const square = toSize(length);
  return valid({ ...asLlava, resize: { mode: "squash", ...square } }, where, "unsupported_architecture");
}

/** The pixels of nanoVLM: squashed as torchvision does with Pillow's images, and not normalised. */
export function nanoVlmPreprocessing(side: number): ImagePreprocessing {
  return { ...squashed(side, { mean: [0, 0, 0], std: [1, 1, 1] }), resample: "bilinear" };
}

function processorForms(name: string): string[] {
  return ["", "Fast", "Pil"].map((form) => `${name}ImageProcessor${form}`);
}

function processorDefaults(type: string | undefined, where: string): ProcessorDefaults {
  const name = (type ?? "ViTImageProcessor").replace(
    /(ImageProcessor(Fast|Pil)?|VideoProcessor|FeatureExtractor)$/,
    "",
  );
  const defaults = Object.hasOwn(processors, name) ? processors[name] : undefined;
  if (defaults !== undefined) return defaults;
  const key = type?.endsWith("VideoProcessor") ? "video_processor_type" : "image_processor_type";
  throw unsupported(where, `'${key}': expected the processor of ${Object.keys(processors).join(", ")}, got ${type}`);
}

function processorResize(size: ProcessorDefaults["size"], bareSize: ProcessorDefaults["bareSize"]): Resize {
  if (typeof size === "number") {
    return bareSize === "square" ? { mode: "squash", ...toSize(size) } : { mode: "shortest-edge", length: size };
  }
  if ("shortest_edge" in size) return { mode: "shortest-edge", length: size.shortest_edge };
  return { mode: "squash", ...size };
}

const timmConfig = z.object({
  input_size: z.tuple([z.literal(3), side, side]),
  interpolation: resampleSchema.default("bicubic"),
  crop_pct: z.number().min(0.1).max(1).default(0.875),
  crop_mode: z.enum(["center", "squash"]).default("center"),
  mean: channels.default(IMAGENET.mean),
  std: channels.default(IMAGENET.std),
});

/**
 * Reads a timm `config.json` from the hub: the keys in `pretrained_cfg` or, in older files, at the top level.
 * Source: timm 1.0, `data/config.py` (defaults) and `transforms_imagenet_eval` in `data/transforms_factory.py`.
 *
 * @param where the file's name in errors
 * @throws unsupported_architecture for an unsupported value, naming its key
 */
export function parseTimmConfig(json: unknown, where: string): ImagePreprocessing {
  const nested = z.object({ pretrained_cfg: z.unknown() }).safeParse(json);
  const config = parse(timmConfig, nested.data?.pretrained_cfg ?? json, where, "unsupported_architecture");
  const [, height, width] = config.input_size;
  const grown = (length: number) => Math.floor(length / config.crop_pct);
  if (config.crop_mode === "center" && height !== width) {
    throw unsupported(where, `'crop_mode': expected squash for an input of ${height} x ${width}, got center`);
  }
  const resize: Resize =
    config.crop_mode === "squash"
      ? { mode: "squash", height: grown(height), width: grown(width) }
      : { mode: "shortest-edge", length: grown(height) };
  return normalized({ height, width }, resize, config, where);
}

const openClipConfig = z.object({
  mean: channels.default(CLIP.mean),
  std: channels.default(CLIP.std),
  interpolation: resampleSchema.default("bicubic"),
  resize_mode: z.enum(["shortest", "squash"]).default("shortest"),
});

/**
 * Reads `preprocess_cfg` of an `open_clip_config.json`. Source: open_clip's `transform.py`, `PreprocessCfg`.
 *
 * @param length side of the encoder's input in pixels
 * @param where the file's name in errors
 * @throws unsupported_architecture for an unsupported value, naming its key
 */
export function parseOpenClipConfig(json: unknown, length: number, where: string): ImagePreprocessing {
  const file = z.looseObject({ preprocess_cfg: z.unknown().optional() }).parse(json);
  const config = parse(openClipConfig, file.preprocess_cfg ?? {}, where, "unsupported_architecture");
  const size = toSize(length);
  const resize: Resize =
    config.resize_mode === "squash" ? { mode: "squash", ...size } : { mode: "shortest-edge", length };
  return normalized(size, resize, config, where);
}

/** The preprocessing of timm and open_clip after resizing: from bytes to 0 to 1, then normalised. */
function normalized(
  size: ImageSize,
  resize: Resize,
  { interpolation, mean, std }: Pick<z.infer<typeof openClipConfig>, "interpolation" | "mean" | "std">,
  where: string,
): ImagePreprocessing {
  const value = { size, resize, resample: interpolation, rescaleFactor: ONE_BYTE, mean, std };
  return valid(value, where, "unsupported_architecture");
}

function cropFits({ size, resize }: { size: ImageSize; resize: Resize }): boolean {
  const height = resize.mode === "squash" ? resize.height : resize.length;
  const width = resize.mode === "squash" ? resize.width : resize.length;
  return size.height <= height && size.width <= width;
}

function toSize(size: number | ImageSize): ImageSize {
  return typeof size === "number" ? { height: size, width: size } : size;
}

function valid(value: ImagePreprocessing, where: string, code: ErrorCode): ImagePreprocessing {
  return parse(imagePreprocessingSchema, value, where, code);
}

function unsupported(where: string, message: string): EpalmError {
  return new EpalmError("unsupported_architecture", `${where}: ${message}`);
}
