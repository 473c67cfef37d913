import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { EpalmError, pathNotFound } from "../core/errors.js";
import type { Checkpoint, OpenLimits } from "./checkpoint.js";
import { invalidCheckpoint } from "./invalid-checkpoint.js";
import { openNpz } from "./npz.js";
import { RandomAccessFile } from "./random-access-file.js";
import { openSafetensors } from "./safetensors.js";
import { openSharded } from "./sharded.js";
import { openTorchFile, torchFormat } from "./torch-file.js";
import { WEIGHT_FORMATS } from "./weight-formats.js";

/** Enough to distinguish the formats: the JSON header of safetensors begins at byte 8. */
const MAGIC_BYTES = 9;

/**
 * Opens a checkpoint file, whose format is detected from its content, or the weights in a folder with the Hugging
 * Face layout.
 *
 * @throws `not_found`, naming the files that were looked for; `invalid_checkpoint`, naming the file and the cause
 *
 * @example
 * ```ts
 * import { openCheckpoint } from "epalm";
 * const checkpoint = await openCheckpoint("model.safetensors");
 * for (const [name, { type, shape }] of checkpoint.tensors) console.log(name, type, shape);
 * checkpoint.close();
 * ```
 */
export async function openCheckpoint(path: string, limits: OpenLimits = {}): Promise<Checkpoint> {
  if (!existsSync(path)) throw pathNotFound(path);
  return openFile(statSync(path).isDirectory() ? weightsOf(path) : path, limits);
}

function weightsOf(folder: string): string {
  const entries = WEIGHT_FORMATS.map(({ entry }) => entry);
  const found = entries.find((name) => existsSync(join(folder, name)));
  if (!found) throw new EpalmError("not_found", `${folder}: no weights, looked for ${entries.join(", ")}`);
  return join(folder, found);
}

async function openFile(path: string, limits: OpenLimits): Promise<Checkpoint> {
  const start = firstBytes(path);
  if (path.endsWith(".json")) return await openSharded(path);
  // Safetensors is tested first, because the header length may begin with the magic bytes of another format.
  const looksLikeSafetensors = String.fromCharCode(start[MAGIC_BYTES - 1] ?? 0) === "{";
  if (looksLikeSafetensors || path.endsWith(".safetensors")) return openSafetensors(path, limits);
  // Both numpy's archives and those of torch are zip files.
  if (path.endsWith(".npz")) return await openNpz(path);
  if (torchFormat(start) !== "other") return await openTorchFile(path, limits);
  if (String.fromCharCode(start[0] ?? 0) === "{") return await openSharded(path);
  throw invalidCheckpoint(path, "is neither a safetensors file, nor a torch zip file, nor an index of shards");
}

function firstBytes(path: string): Uint8Array {
  const file = new RandomAccessFile(path);
  try {
    return file.read(0, Math.min(MAGIC_BYTES, file.size));
  } finally {
    file.close();
  }
}
