import { statSync } from "node:fs";
import { join } from "node:path";
import { type AdapterSettings, PROMPT } from "../../adapter/adapter.js";
import { readAdapter } from "../../adapter/adapter-file.js";
import { EpalmError } from "../../core/errors.js";
import type { Checkpoint } from "../../formats/checkpoint.js";
import { openCheckpoint } from "../../formats/open-checkpoint.js";
import { STATE_DICT_KEYS } from "../../formats/torch-file.js";
import { readJson } from "../../model/source-folder.js";
import { type ElementType, elementCount, elementSize } from "../../tensor/tensor.js";
import { type Json, pickleToJson, type SkippedObject, skippedObjects } from "./pickle-to-json.js";

/** The contents of a checkpoint, as `epalm inspect --json` prints them. */
export interface CheckpointDescription {
  readonly kind: "checkpoint";
  /** The file; for a folder, its weights file or the index of its weights. */
  readonly path: string;
  readonly format: "safetensors" | "torch" | "sharded" | "npz";
  readonly parameters: number;
  /** Size of all tensors. */
  readonly bytes: number;
  readonly tensors: readonly {
    readonly name: string;
    readonly type: ElementType;
    readonly shape: readonly number[];
  }[];
  /** Metadata of a safetensors file; otherwise empty. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The `config.json` of a folder. */
  readonly config: Readonly<Record<string, unknown>> | undefined;
  /** Contents of a torch file other than its tensors. */
  readonly contents: Json | undefined;
  /** Objects of a torch file that were neither interpreted nor run, and tensors of kinds that cannot be read. */
  readonly skipped: readonly SkippedObject[];
  /** Settings of an adapter, or the reason why they are incomplete. */
  readonly adapter: { readonly settings: AdapterSettings } | { readonly problem: string } | undefined;
}

/** Describes a checkpoint file or the weights of a folder. @throws the errors of `openCheckpoint` */
export async function describeCheckpoint(path: string): Promise<CheckpointDescription> {
  const checkpoint = await openCheckpoint(path);
  try {
    const tensors = Array.from(checkpoint.tensors, ([name, { type, shape }]) => ({ name, type, shape }));
    const sum = (of: (tensor: (typeof tensors)[number]) => number) =>
      tensors.reduce((total, tensor) => total + of(tensor), 0);
    return {
      kind: "checkpoint",
      path: checkpoint.path,
      format: formatOf(checkpoint),
      parameters: sum(({ shape }) => elementCount(shape)),
      bytes: sum(({ type, shape }) => elementCount(shape) * elementSize[type]),
      tensors,
      metadata: checkpoint.metadata,
      config: statSync(path).isDirectory() ? readJson(join(path, "config.json")) : undefined,
      contents: contentsOf(checkpoint),
      skipped: checkpoint.root === undefined ? [] : skippedObjects(checkpoint.root),
      adapter: await describeAdapter(checkpoint),
    };
  } finally {
    checkpoint.close();
  }
}

function formatOf({ path, root }: Checkpoint): CheckpointDescription["format"] {
  if (root !== undefined) return "torch";
  if (path.endsWith(".npz")) return "npz";
  return path.endsWith(".json") ? "sharded" : "safetensors";
}

/** Omits the tensors, which are listed separately. */
function contentsOf({ root, tensors }: Checkpoint): Json | undefined {
  if (!(root instanceof Map)) return undefined;
  const others = [...root].filter(
    ([key]) => !STATE_DICT_KEYS.some((name) => name === key) && !tensors.has(String(key)),
  );
  return others.length > 0 ? pickleToJson(new Map(others)) : undefined;
}

async function describeAdapter({ path, tensors }: Checkpoint): Promise<CheckpointDescription["adapter"]> {
  if (!tensors.has(`${PROMPT}.0.weight`)) return undefined;
  try {
    return { settings: (await readAdapter(path)).settings };
  } catch (error) {
    if (error instanceof EpalmError && error.code === "invalid_adapter") return { problem: error.message };
    throw error;
  }
}
