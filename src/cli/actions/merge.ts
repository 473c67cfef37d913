import { whileLocked } from "../../core/files/lock-path.js";
import { mergeParts } from "../bulk/merge-parts.js";
import { formatCount, print } from "../output/output.js";

export interface MergeFlags {
  readonly output: string;
  readonly json?: true;
}

/** `epalm merge` joins the outputs of the shards of a run. */
export async function mergeCommand(parts: readonly string[], { output, json }: MergeFlags): Promise<void> {
  const merged = await whileLocked(output, async () => mergeParts(parts, output));
  const { parts: count, answers, failed } = merged;
  if (json) print(JSON.stringify(merged));
  else print(`${formatCount(answers)} answers of ${formatCount(count)} parts, ${formatCount(failed)} of them failed`);
}
