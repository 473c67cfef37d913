/** Checkpoints in several files: `model.safetensors.index.json` and `pytorch_model.bin.index.json`. */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { z } from "zod";
import { pathInside } from "../core/files/path-inside.js";
import { parseJson } from "../core/json.js";
import type { TensorSource } from "../tensor/tensor.js";
import type { Checkpoint } from "./checkpoint.js";
import { invalidCheckpoint, namingFile } from "./invalid-checkpoint.js";
import { RandomAccessFile } from "./random-access-file.js";
import { openSafetensors } from "./safetensors.js";
import { openTorchFile } from "./torch-file.js";

/** An index has about 100 bytes per tensor, so this allows more than half a million tensors. */
const MAX_INDEX_BYTES = 64 * 1024 * 1024;
const MAX_INDEX_VALUES = 1_000_000;
/** All shards stay open, and a process can usually open 1,024 files. The largest models have about 200 shards. */
const MAX_SHARDS = 512;

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

/**
 * Opens all shards of an index. The index determines the tensors of the checkpoint; other tensors in the shards are
 * ignored.
 *
 * @throws `invalid_checkpoint`, naming a missing shard or tensor
 */
export async function openSharded(indexPath: string): Promise<Checkpoint> {
  const shards = new Map<string, Checkpoint>();
  const close = () => {
    for (const shard of shards.values()) shard.close();
  };
  try {
    const weightMap = readWeightMap(indexPath);
    for (const name of new Set(weightMap.values())) {
      shards.set(name, await openShard(shardPath(indexPath, name)));
    }
    const tensors = new Map<string, TensorSource>();
    const unsupported = new Map<string, string>();
    for (const [name, shardName] of weightMap) {
      const shard = shards.get(shardName);
      const kind = shard?.unsupported?.get(name);
      if (kind !== undefined) {
        unsupported.set(name, kind);
        continue;
      }
      const source = shard?.tensors.get(name);
      if (!source) throw invalidCheckpoint(indexPath, `tensor ${name} is not in its shard ${shardName}`);
      tensors.set(name, source);
    }
    return { path: indexPath, tensors, unsupported, metadata: {}, close };
  } catch (error) {
    close();
    throw error;
  }
}

function readWeightMap(indexPath: string): ReadonlyMap<string, string> {
  const index = indexSchema.safeParse(readJson(indexPath));
  if (!index.success)
    throw invalidCheckpoint(
      indexPath,
      "is not an index of shards: expected an object with a weight_map of shard names",
    );
  const weightMap = new Map(Object.entries(index.data.weight_map));
  const shardCount = new Set(weightMap.values()).size;
  if (shardCount > MAX_SHARDS) {
    throw invalidCheckpoint(indexPath, `names ${shardCount} shards, expected at most ${MAX_SHARDS}`);
  }
  return weightMap;
}

function readJson(path: string): unknown {
  const file = new RandomAccessFile(path);
  try {
    if (file.size > MAX_INDEX_BYTES) {
      throw invalidCheckpoint(path, `expected an index of at most ${MAX_INDEX_BYTES} bytes, got ${file.size}`);
    }
    return parseJson(file.read(0, file.size), path, "invalid_checkpoint", { maxValues: MAX_INDEX_VALUES });
  } catch (error) {
    throw namingFile(path, error);
  } finally {
    file.close();
  }
}

function shardPath(indexPath: string, name: string): string {
  const path = pathInside(dirname(indexPath), name);
  if (!path) throw invalidCheckpoint(indexPath, `shard ${name} lies outside the folder`);
  if (!existsSync(path)) throw invalidCheckpoint(indexPath, `shard ${name} is missing`);
  return path;
}

async function openShard(path: string): Promise<Checkpoint> {
  return path.endsWith(".safetensors") ? openSafetensors(path) : await openTorchFile(path);
}
