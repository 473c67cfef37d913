import { z } from "zod";
import { EpalmError } from "../core/errors.js";
import { parse } from "../core/schema.js";
import type { HeadLayout } from "../layers/attention.js";
import { MAX_FRAMES } from "./backbone.js";

/**
 * The largest size that a config may state. The widest public models stay below 300,000 (vocabularies);
 * the bound keeps a damaged file from asking for absurd memory.
 */
const MAX_COUNT = 1_000_000;

/** A size: a positive whole number. */
export const count = z.int().min(1).max(MAX_COUNT);

/** The deepest public models have some 130 layers; each one costs nodes and inputs before its weights are looked for. */
const MAX_LAYERS = 1000;

export const layerCount = z.int().min(1).max(MAX_LAYERS);

/** Frames of a video. */
export const frameCount = z.int().min(1).max(MAX_FRAMES);

/**
 * Reads the known keys of a public `config.json`; keys that mean nothing here are passed over, values that
 * are not supported are refused by key (`unsupported_architecture`).
 */
export function parseConfig<T extends z.ZodType>(schema: T, json: unknown, architecture: string): z.infer<T> {
  return parse(schema, json, `${architecture} config.json`, "unsupported_architecture");
}

export interface HeadSizes {
  readonly width: number;
  readonly heads: number;
  /** Default: as many as heads. */
  readonly keyHeads?: number | undefined;
  /** Default: the width, divided by the heads. */
  readonly headSize?: number | null | undefined;
}

/** How a config divides its attention; sizes that do not divide each other are refused under the key of the heads. */
export function headLayout(architecture: string, key: string, sizes: HeadSizes): HeadLayout {
  const { width, heads, keyHeads = heads } = sizes;
  const headSize = sizes.headSize ?? width / heads;
  const refuse = (message: string) =>
    new EpalmError("unsupported_architecture", `${architecture} config.json: '${key}': ${message}`);
  if (!Number.isInteger(headSize)) throw refuse(`${heads} heads do not divide the width of ${width}`);
  if (heads % keyHeads !== 0) throw refuse(`${keyHeads} key heads do not divide ${heads} heads`);
  return { heads, keyHeads, headSize };
}
