import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { pathNotFound } from "../core/errors.js";
import { readJsonFile } from "../core/json.js";
import { parse } from "../core/schema.js";
import type { Checkpoint } from "../formats/checkpoint.js";
import { openCheckpoint } from "../formats/open-checkpoint.js";
import type { Origin } from "./manifest.js";

/** Public files next to weights are kilobytes; tokenizers have a bound of their own. */
const MAX_JSON_BYTES = 8 * 1024 * 1024;

/** A public checkpoint on disk: a folder in Hugging Face or timm layout, or a bare file of weights. */
export interface Source {
  /** The folder, or the file. */
  readonly path: string;
  /** Where files beside the weights are looked for. */
  readonly folder: string;
  /** `config.json`; undefined beside a bare file. */
  readonly config: Readonly<Record<string, unknown>> | undefined;
  readonly checkpoint: Checkpoint;
  readonly origin: Origin;
}

/**
 * @param given what the user named, a hub id or a path, for the record
 * @param revision the hub's commit, if it came from there
 */
export async function openSource(path: string, given: string, revision?: string): Promise<Source> {
  if (!existsSync(path)) throw pathNotFound(path);
  const isFolder = statSync(path).isDirectory();
  const folder = isFolder ? path : dirname(path);
  const license = readLicense(folder);
  return {
    path,
    folder,
    config: isFolder ? readJson(join(folder, "config.json")) : undefined,
    checkpoint: await openCheckpoint(path),
    origin: {
      // A path says where it stood on this machine, which is nobody's business later.
      source: existsSync(given) ? basename(given) : given,
      ...(revision === undefined ? {} : { revision }),
      ...(license === undefined ? {} : { license }),
    },
  };
}

/** A JSON object of a public folder; undefined if there is no such file. */
export function readJson(path: string): Readonly<Record<string, unknown>> | undefined {
  if (!existsSync(path)) return undefined;
  const json = readJsonFile(path, MAX_JSON_BYTES, "invalid_checkpoint");
  return parse(z.record(z.string(), z.unknown()), json, path, "invalid_checkpoint");
}

/** The licence that a model card states in its first lines, as the hub needs for. */
function readLicense(folder: string): string | undefined {
  const card = join(folder, "README.md");
  if (!existsSync(card) || statSync(card).size > MAX_JSON_BYTES) return undefined;
  const [, front = ""] = /^---\r?\n([\s\S]*?)\r?\n---/.exec(readFileSync(card, "utf8")) ?? [];
  return /^license:\s*["']?([\w.-]+)/m.exec(front)?.[1];
}
