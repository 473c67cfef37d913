import { rmSync } from "node:fs";
import { untilAborted } from "../../core/abort.js";
import type { BuildOptions, VlmBuildOptions } from "../../model/build-options.js";
import { Thread } from "../../runtime/thread.js";

/**
 * Builds a model folder in a worker thread. Writing weights blocks a thread for minutes, during which the main thread
 * must still handle Ctrl-C. When the signal fires, the incomplete folder is removed.
 */
export async function buildInThread(options: BuildOptions | VlmBuildOptions, signal: AbortSignal): Promise<void> {
  const { onStage, ...plain } = options;
  const thread = new Thread(new URL("./build-thread.worker.js", import.meta.url));
  const onEvent = (stage: unknown) => onStage?.(String(stage));
  try {
    await untilAborted(thread.call("build", plain, { onEvent }), signal);
  } finally {
    await thread.terminate();
    // A terminated thread cannot remove the folder in which `buildModel` works.
    if (signal.aborted) rmSync(`${options.output}.part`, { recursive: true, force: true });
  }
}
