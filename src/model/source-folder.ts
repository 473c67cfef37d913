import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { pathNotFound } from "../core/errors.js";
import { readJsonFile, withoutNulls } from "../core/json.js";
import { parse } from "../core/schema.js";
import type { Checkpoint } from "../formats/checkpoint.js";
import { openCheckpoint } from "../formats/open-checkpoint.js";
import type { ImagePreprocessing } from "../preprocessing/image-preprocessing.js";
import type { Origin } from "./manifest.js";

/** Public JSON files next to weights take a few kilobytes; tokenizers have their own bound. */
const MAX_JSON_BYTES = 8 * 1024 * 1024;

/** The config of a model that open_clip published, with its preprocessing. */
export const OPEN_CLIP_CONFIG = "open_clip_config.json";

/** A public checkpoint on disk: a folder in Hugging Face or timm layout, or a single weights file. */
export interface Source {
  /** The folder or the weights file. */
  readonly path: string;
  /** The folder that contains the weights and the files next to them. */
  readonly folder: string;
  /** `config.json`; undefined for a single weights file. */
  readonly config: Readonly<Record<string, unknown>> | undefined;
  /** `open_clip_config.json` of a folder without a `config.json`. */
  readonly openClip?: Readonly<Record<string, unknown>> | undefined;
  readonly checkpoint: Checkpoint;
  readonly origin: Origin;
  /** The preprocessing of images, if it is not that of the files in the folder. */
  readonly imagePreprocessing?: ImagePreprocessing | undefined;
}

/**
 * @param given the hub id or path that the user gave; recorded as the origin
 * @param revision commit on the hub, if the source was downloaded
 */
export async function openSource(path: string, given: string, revision?: string): Promise<Source> {
  if (!existsSync(path)) throw pathNotFound(path);
  const isFolder = statSync(path).isDirectory();
  const folder = isFolder ? path : dirname(path);
  const license = readLicense(folder);
  const config = isFolder ? readJson(join(folder, "config.json")) : undefined;
  return {
    path,
    folder,
    config,
    openClip: isFolder && !config ? readJson(join(folder, OPEN_CLIP_CONFIG)) : undefined,
    checkpoint: await openCheckpoint(path),
    origin: {
      // Only the last part of a path is recorded, because the rest describes the user's machine.
      source: existsSync(given) ? basename(given) : given,
      ...(revision === undefined ? {} : { revision }),
      ...(license === undefined ? {} : { license }),
    },
  };
}

/** Reads a JSON object from a public folder, in which null means absent; undefined if there is no such file. */
export function readJson(path: string): Readonly<Record<string, unknown>> | undefined {
  if (!existsSync(path)) return undefined;
  const json = withoutNulls(readJsonFile(path, MAX_JSON_BYTES, "invalid_checkpoint"));
  return parse(z.record(z.string(), z.unknown()), json, path, "invalid_checkpoint");
}

/** The licence in the front matter of a model card, where the hub expects it. */
function readLicense(folder: string): string | undefined {
  const card = join(folder, "README.md");
  if (!existsSync(card) || statSync(card).size > MAX_JSON_BYTES) return undefined;
  const [, front = ""] = /^---\r?\n([\s\S]*?)\r?\n---/.exec(readFileSync(card, "utf8")) ?? [];
  return /^license:\s*["']?([\w.-]+)/m.exec(front)?.[1];
}
