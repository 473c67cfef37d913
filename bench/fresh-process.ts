import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { EpalmError, messageOf } from "../src/core/errors.js";
import type { BuildOptions, VlmBuildOptions } from "../src/model/build-options.js";
import type { LoadOptions } from "../src/pipeline.js";

/** Work whose time and memory are measured in a process of its own. */
export type Task =
  | { readonly kind: "build"; readonly options: Omit<BuildOptions, "onStage"> | Omit<VlmBuildOptions, "onStage"> }
  | { readonly kind: "caption"; readonly path: string }
  | { readonly kind: "load"; readonly path: string; readonly options: LoadOptions };

const cost = z.strictObject({
  /** Duration of the work, without the start of the process. */
  milliseconds: z.number(),
  /** Processor time of all threads of the process. */
  processorMilliseconds: z.number(),
  /** Peak resident memory of the whole process. */
  peakBytes: z.number(),
  /** Resident memory at the end of the work. */
  residentBytes: z.number(),
});
export type Cost = z.infer<typeof cost>;

export function runInFreshProcess(task: Task): Promise<Cost> {
  const entry = fileURLToPath(new URL("./fresh-process.worker.js", import.meta.url));
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [entry, JSON.stringify(task)], (error, stdout, stderr) => {
      if (!error) return resolve(cost.parse(JSON.parse(stdout)));
      const reason = stderr.trim() || messageOf(error);
      reject(new EpalmError("internal", `${task.kind} in a fresh process: ${reason}`, { cause: error }));
    });
  });
}
