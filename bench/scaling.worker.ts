import { writeFileSync } from "node:fs";
import { median } from "../src/cli/measure/median.js";
import { messageOf } from "../src/core/errors.js";
import { randomStreams } from "../src/core/random.js";
import { adapterWidths } from "../src/model/model-folder.js";
import { load, type Model } from "../src/pipeline.js";
import { peakResidentBytes } from "../src/runtime/peak-resident-bytes.js";
import { elementCount } from "../src/tensor/tensor.js";
import { initialAdapter } from "../src/training/adapter/initial-adapter.js";
import { openDecoder } from "./decoding.js";
import { runGreedy } from "./greedy-run.js";
import { injectionOf } from "./models.js";
import type { ScalingCost, ScalingTask } from "./scaling-task.js";

/** The process behind `npm run bench -- scaling`: does one task several times and prints its cost as JSON. */

/** Steps after the prompt; the median needs several. */
const STEPS = 8;
const CAPTION_TOKENS = 16;

/** Opens the model of a task. Returns its work, which returns milliseconds. */
async function open(task: ScalingTask): Promise<() => Promise<number>> {
  switch (task.kind) {
    case "prefill": {
      const { session, shape } = await openDecoder(task.path);
      return async () =>
        (await runGreedy(session, shape, { newTokens: 1, promptTokens: task.promptTokens })).prefill.total;
    }
    case "step": {
      const { session, shape } = await openDecoder(task.path);
      return async () => {
        const { steps } = await runGreedy(session, shape, { newTokens: 1 + STEPS, batch: task.batch });
        return median(steps.map(({ total }) => total));
      };
    }
    case "adapters":
      return captions(await load(task.path), task.adapters, task.requests);
    case "images": {
      const model = await load(task.path);
      const images = randomImages(model, task.images);
      return () => timed(() => Promise.all(images.map((image) => model.encode(image))));
    }
    default:
      return task satisfies never;
  }
}

async function captions(model: Model, adapters: number, requests: number): Promise<() => Promise<number>> {
  const names = Array.from({ length: adapters }, (_, index) => `adapter-${index}`);
  const settings = {
    ...injectionOf("opt"),
    ...({ sharedConnector: true, promptLength: 1, promptForm: "table", perceptionSees: "itself" } as const),
  };
  const [random = Math.random] = randomStreams(0, 1);
  for (const name of names) {
    await model.useAdapter(name, initialAdapter(settings, adapterWidths(model.manifest), random));
  }
  const [image] = randomImages(model, 1);
  const medium = image && (await model.encode(image));
  const options = { beams: 1, maxNewTokens: CAPTION_TOKENS, minNewTokens: CAPTION_TOKENS };
  return () =>
    timed(() =>
      Promise.all(
        Array.from({ length: requests }, (_, index) =>
          medium?.caption({ ...options, adapter: names[index % adapters] }),
        ),
      ),
    );
}

function randomImages(model: Model, count: number): { pixels: Float32Array }[] {
  const length = elementCount(model.manifest.encoder.inputShape);
  const [random = Math.random] = randomStreams(0, 1);
  return Array.from({ length: count }, () => ({ pixels: Float32Array.from({ length }, () => 2 * random() - 1) }));
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/** Lets Linux count the peak from here; elsewhere, it includes the opening of the model. */
function forgetPeak(): void {
  if (process.platform === "linux") writeFileSync("/proc/self/clear_refs", "5");
}

try {
  const task = JSON.parse(process.argv[2] ?? "") as ScalingTask;
  const work = await open(task);
  forgetPeak();
  const openBytes = process.memoryUsage.rss();
  const times: number[] = [];
  for (let round = 0; round <= task.rounds; round++) times.push(await work());
  // The first round warms up and does not count.
  const cost: ScalingCost = { milliseconds: median(times.slice(1)), openBytes, peakBytes: peakResidentBytes() };
  console.log(JSON.stringify(cost));
  process.exit(0);
} catch (error) {
  console.error(messageOf(error));
  process.exit(1);
}
