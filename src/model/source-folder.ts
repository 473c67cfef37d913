import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { EpalmError, messageOf } from "../core/errors.js";
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
  if (!existsSync(path)) throw new EpalmError("not_found", `${path}: no such file or folder`);
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
  const { size } = statSync(path);
  if (size > MAX_JSON_BYTES) {
    throw new EpalmError("invalid_checkpoint", `${path}: ${size} bytes are more than ${MAX_JSON_BYTES}`);
  }
  try {
    const json: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof json === "object" && json !== null && !Array.isArray(json))
      return json as Record<string, unknown>;
  } catch (error) {
    throw new EpalmError("invalid_checkpoint", `${path}: ${messageOf(error)}`, { cause: error });
  }
  throw new EpalmError("invalid_checkpoint", `${path}: expected a JSON object`);
}

/** The licence that a model card states in its first lines, as the hub needs for. */
function readLicense(folder: string): string | undefined {
  const card = join(folder, "README.md");
  if (!existsSync(card) || statSync(card).size > MAX_JSON_BYTES) return undefined;
  const [, front = ""] = /^---\r?\n([\s\S]*?)\r?\n---/.exec(readFileSync(card, "utf8")) ?? [];
  return /^license:\s*["']?([\w.-]+)/m.exec(front)?.[1];
}
