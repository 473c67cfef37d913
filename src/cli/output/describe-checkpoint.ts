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
import { type Json, pickleToJson } from "./pickle-to-json.js";

/** What a checkpoint holds, as data: what `epalm inspect --json` prints. */
export interface CheckpointDescription {
  readonly kind: "checkpoint";
  /** The file; of a folder, that of its weights or of their index. */
  readonly path: string;
  readonly format: "safetensors" | "torch" | "sharded";
  readonly parameters: number;
  /** Of all tensors. */
  readonly bytes: number;
  readonly tensors: readonly {
    readonly name: string;
    readonly type: ElementType;
    readonly shape: readonly number[];
  }[];
  /** Of safetensors. */
  readonly metadata: Readonly<Record<string, string>>;
  /** `config.json` of a folder. */
  readonly config: Readonly<Record<string, unknown>> | undefined;
  /** What a torch file holds beside its tensors. */
  readonly contents: Json | undefined;
  /** Of an adapter: its settings, or what keeps them from being complete. */
  readonly adapter: { readonly settings: AdapterSettings } | { readonly problem: string } | undefined;
}

/** Describes a checkpoint file, or the weights of a folder; throws what `openCheckpoint` throws. */
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
      adapter: await describeAdapter(checkpoint),
    };
  } finally {
    checkpoint.close();
  }
}

function formatOf({ path, root }: Checkpoint): CheckpointDescription["format"] {
  if (root !== undefined) return "torch";
  return path.endsWith(".json") ? "sharded" : "safetensors";
}

/** The tensors have a list of their own. */
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
