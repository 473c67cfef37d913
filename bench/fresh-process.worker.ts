import { messageOf } from "../src/core/errors.js";
import { sampleMedium } from "../src/media/sample-medium.js";
import { buildModel, buildVlm } from "../src/model/build-model.js";
import type { BuildOptions, VlmBuildOptions } from "../src/model/build-options.js";
import { load } from "../src/pipeline.js";
import { peakResidentBytes } from "../src/runtime/peak-resident-bytes.js";
import type { Cost, Task } from "./fresh-process.js";

/** The process behind `runInFreshProcess`: performs one task and prints its cost as JSON. */

async function work(task: Task): Promise<void> {
  switch (task.kind) {
    case "build":
      await ("vlm" in task.options
        ? buildVlm(task.options as VlmBuildOptions)
        : buildModel(task.options as BuildOptions));
      return;
    case "caption": {
      const model = await load(task.path);
      await model.caption(await sampleMedium("image"), { maxNewTokens: 16, minNewTokens: 16 });
      return;
    }
    case "load":
      // The model stays open: its memory is measured, and the process exits.
      await load(task.path, task.options);
      return;
    default:
      task satisfies never;
  }
}

function processorMilliseconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

try {
  const task = JSON.parse(process.argv[2] ?? "") as Task;
  const started = performance.now();
  await work(task);
  const cost: Cost = {
    milliseconds: performance.now() - started,
    processorMilliseconds: processorMilliseconds(),
    residentBytes: process.memoryUsage.rss(),
    peakBytes: peakResidentBytes(),
  };
  console.log(JSON.stringify(cost));
  process.exit(0);
} catch (error) {
  console.error(messageOf(error));
  process.exit(1);
}
