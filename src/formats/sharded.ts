/** Checkpoints in several files: `model.safetensors.index.json` and `pytorch_model.bin.index.json`. */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { z } from "zod";
import { parseJson } from "../core/json.js";
import { pathInside } from "../core/path-inside.js";
import type { TensorSource } from "../tensor/tensor.js";
import type { Checkpoint } from "./checkpoint.js";
import { invalidCheckpoint, namingFile } from "./invalid-checkpoint.js";
import { RandomAccessFile } from "./random-access-file.js";
import { openSafetensors } from "./safetensors.js";
import { openTorchFile } from "./torch-file.js";

/** An index has about 100 bytes per tensor; this is room for more than half a million of them. */
const MAX_INDEX_BYTES = 64 * 1024 * 1024;
/** All shards stay open, and processes may commonly hold 1,024 files; the largest models have about 200. */
const MAX_SHARDS = 512;

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

/**
 * Opens all shards of an index. The index decides which tensors there are; what a shard holds beyond
 * it is not part of the checkpoint. Throws `invalid_checkpoint` that names a missing shard or tensor.
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
    for (const [name, shardName] of weightMap) {
      const source = shards.get(shardName)?.tensors.get(name);
      if (!source) throw invalidCheckpoint(indexPath, `tensor ${name} is not in its shard ${shardName}`);
      tensors.set(name, source);
    }
    return { path: indexPath, tensors, metadata: {}, close };
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
      "is no index of shards: expected an object with a weight_map of shard names",
    );
  const weightMap = new Map(Object.entries(index.data.weight_map));
  const shardCount = new Set(weightMap.values()).size;
  if (shardCount > MAX_SHARDS) {
    throw invalidCheckpoint(indexPath, `names ${shardCount} shards, at most ${MAX_SHARDS} are opened`);
  }
  return weightMap;
}

function readJson(path: string): unknown {
  const file = new RandomAccessFile(path);
  try {
    if (file.size > MAX_INDEX_BYTES) {
      throw invalidCheckpoint(path, `has ${file.size} bytes, an index has at most ${MAX_INDEX_BYTES}`);
    }
    return parseJson(file.read(0, file.size), path, "invalid_checkpoint");
  } catch (error) {
    throw namingFile(path, error);
  } finally {
    file.close();
  }
}

function shardPath(indexPath: string, name: string): string {
  const path = pathInside(dirname(indexPath), name);
  if (!path) throw invalidCheckpoint(indexPath, `shard ${name} lies outside of the folder`);
  if (!existsSync(path)) throw invalidCheckpoint(indexPath, `shard ${name} is missing`);
  return path;
}

async function openShard(path: string): Promise<Checkpoint> {
  return path.endsWith(".safetensors") ? openSafetensors(path) : await openTorchFile(path);
}
