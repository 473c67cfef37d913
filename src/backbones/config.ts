import { z } from "zod";
import { EpalmError } from "../core/errors.js";
import { parse } from "../core/schema.js";
import type { HeadLayout } from "../layers/attention.js";
import { MAX_FRAMES } from "./backbone.js";

/**
 * The largest size that a config can state. The largest vocabularies of public models are below 300,000; the bound
 * prevents a damaged file from requesting absurd amounts of memory.
 */
const MAX_COUNT = 1_000_000;

/** A size: a positive integer. */
export const count = z.int().min(1).max(MAX_COUNT);

/**
 * The deepest public models have about 130 layers. Each layer adds nodes and inputs before its weights are looked up.
 */
const MAX_LAYERS = 1000;

export const layerCount = z.int().min(1).max(MAX_LAYERS);

/** A size in pixels; configs may state it as one number or as a height and a width, which must be equal. */
export const squareSide = z.union([
  count,
  z
    .tuple([count, count])
    .refine(([height, width]) => height === width, "expected a square")
    .transform(([height]) => height),
]);

/**
 * The keys of an image encoder in the `config.json` of a model of images and text, which has them in `vision_config`
 * (or, in older files, `vision_config_dict`), or in that of the encoder alone.
 */
export function visionKeys(json: unknown): unknown {
  const nested = z.looseObject({
    vision_config: z.looseObject({}).optional(),
    vision_config_dict: z.looseObject({}).optional(),
  });
  const { vision_config, vision_config_dict, ...config } = nested.safeParse(json).data ?? {};
  if (!vision_config && !vision_config_dict) return json;
  return { ...vision_config, ...vision_config_dict, model_type: config.model_type };
}

/** Number of frames of a video. */
export const frameCount = z.int().min(1).max(MAX_FRAMES);

/**
 * Reads the known keys of a public `config.json` and ignores other keys.
 *
 * @throws `unsupported_architecture`, naming the key, for a value that is not supported
 */
export function parseConfig<T extends z.ZodType>(schema: T, json: unknown, architecture: string): z.infer<T> {
  return parse(schema, json, `${architecture} config.json`, "unsupported_architecture");
}

export interface HeadSizes {
  readonly width: number;
  readonly heads: number;
  /** Default: `heads`. */
  readonly keyHeads?: number | undefined;
  /** Default: `width / heads`. */
  readonly headSize?: number | null | undefined;
}

/**
 * How a config divides its attention. @throws `unsupported_architecture`, naming `key`, if the sizes are not
 * divisible
 */
export function headLayout(architecture: string, key: string, sizes: HeadSizes): HeadLayout {
  const { width, heads, keyHeads = heads } = sizes;
  const headSize = sizes.headSize ?? width / heads;
  const refuse = (message: string) =>
    new EpalmError("unsupported_architecture", `${architecture} config.json: '${key}': ${message}`);
  if (!Number.isInteger(headSize)) throw refuse(`${heads} heads do not divide the width of ${width}`);
  if (heads % keyHeads !== 0) throw refuse(`${keyHeads} key heads do not divide ${heads} heads`);
  return { heads, keyHeads, headSize };
}
