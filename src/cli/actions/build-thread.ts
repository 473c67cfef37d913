import { rmSync } from "node:fs";
import { untilAborted } from "../../core/abort.js";
import type { BuildOptions } from "../../model/build-model.js";
import { Thread } from "../../runtime/thread.js";

/**
 * Builds a model folder in a thread of its own: writing weights holds a thread for minutes, and Ctrl-C is to be heard
 * meanwhile. When the signal fires, what was begun is removed.
 */
export async function buildInThread(options: BuildOptions, signal: AbortSignal): Promise<void> {
  const { onStage, ...plain } = options;
  const thread = new Thread(new URL("./build-thread.worker.js", import.meta.url));
  const onEvent = (stage: unknown) => onStage?.(String(stage));
  try {
    await untilAborted(thread.call("build", plain, { onEvent }), signal);
  } finally {
    await thread.terminate();
    // A thread that was ended could not clean up; `buildModel` works in this folder.
    if (signal.aborted) rmSync(`${options.output}.part`, { recursive: true, force: true });
  }
}
