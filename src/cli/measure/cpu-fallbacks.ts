import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LoadOptions } from "../../index.js";
import { sampleMedium } from "../../media/sample-medium.js";
import { load } from "../../pipeline.js";
import { type NodeCounts, readProfile } from "../../runtime/read-profile.js";
import { askModel } from "./ask-model.js";

/** Where the nodes of each graph of a model were computed. */
export type GraphNodes = Readonly<Record<"encoder" | "decoder", NodeCounts>>;

/**
 * Loads a model on a device, answers one request and counts the operators that were computed on the CPU instead.
 *
 * @throws the errors of `load` and of a request
 */
export async function measureFallbacks(
  path: string,
  options: Pick<LoadOptions, "device" | "threads">,
  signal: AbortSignal,
): Promise<GraphNodes> {
  const folder = await mkdtemp(join(tmpdir(), "epalm-profile-"));
  try {
    const model = await load(path, { ...options, profileTo: folder });
    try {
      const { modality } = model.manifest.encoder;
      const medium = await model.encode(await sampleMedium(modality), { modality });
      await askModel(model, medium, 1, signal);
    } finally {
      await model.close();
    }
    const files = await readdir(folder);
    const countsOf = (name: string) => readProfile(join(folder, files.find((file) => file.startsWith(name)) ?? name));
    return { encoder: countsOf("encoder"), decoder: countsOf("decoder") };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Rows of a table, such as `decoder | 8 of 400 nodes on the CPU: Cast 4, Cos 2, Sin 2; 12 copies per run`. */
export function formatNodes(nodes: GraphNodes): string[][] {
  return Object.entries(nodes).map(([name, { all, copies, onCpu }]) => {
    const count = Object.values(onCpu).reduce((sum, own) => sum + own, 0);
    const operators = Object.entries(onCpu).map(([operator, own]) => `${operator} ${own}`);
    const named = operators.length === 0 ? "" : `: ${operators.sort().join(", ")}`;
    return [name, `${count} of ${all} nodes on the CPU${named}; ${copies} copies per run`];
  });
}
