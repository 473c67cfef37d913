import { rmSync } from "node:fs";
import { join } from "node:path";
import { median } from "../src/cli/measure/median.js";
import { sampleMedium } from "../src/media/sample-medium.js";
import { load } from "../src/pipeline.js";
import { peakResidentBytes } from "../src/runtime/peak-resident-bytes.js";
import { runInFreshProcess } from "./fresh-process.js";
import { captionTimes, type StageTimes, stages } from "./latency.js";
import type { Context, Measurement } from "./measurement.js";
import { buildOptions, type DecoderName, folderBytes, modelFolder, modelTitle } from "./models.js";
import type { Table } from "./table.js";
import { trainingStep, trainingStepCost } from "./training.js";

const ROUNDS = 3;
const MB = 1e6;

export const published: Measurement = {
  summary: `${modelTitle("opt2700m")} in int4: building, opening and a caption`,
  run: async (context) => [await buildAndCaption(context, "opt2700m")],
};

export const photographs: Measurement = {
  summary: `${modelTitle("qwen3")}: building, opening and a caption in int4, and a training step in int8`,
  run: async (context) => [await buildAndCaption(context, "qwen3"), await training(context, "qwen3")],
};

const columns = [
  { key: "what", title: "what" },
  { key: "value", title: "value", digits: 1 },
];

async function buildAndCaption(context: Context, name: DecoderName): Promise<Table> {
  context.say("measuring: build");
  const path = join(context.folder, `int4-${name}`);
  rmSync(path, { recursive: true, force: true });
  const options = buildOptions(context, name, "int4", path);
  const built = await runInFreshProcess({ kind: "build", options });
  context.say("measuring: captions");
  const started = performance.now();
  const model = await load(path);
  const openMilliseconds = performance.now() - started;
  try {
    const image = await sampleMedium("image");
    await captionTimes(model, image);
    const rounds: StageTimes[] = [];
    for (let round = 0; round < ROUNDS; round++) rounds.push(await captionTimes(model, image));
    return {
      title: `${modelTitle(name)} in int4`,
      columns,
      rows: [
        { what: "build, s", value: built.milliseconds / 1000 },
        { what: "build, peak MB", value: built.peakBytes / MB },
        { what: "on disk, MB", value: folderBytes(path) / MB },
        { what: "open, s", value: openMilliseconds / 1000 },
        ...stages.map((stage) => ({
          what: `caption, ${stage}, ms`,
          value: median(rounds.map((times) => times[stage])),
        })),
        { what: "serving, peak MB", value: peakResidentBytes() / MB },
      ],
      notes: [`a caption of 16 tokens, greedy, medians of ${ROUNDS}; random weights`],
    };
  } finally {
    await model.close();
  }
}

/** Training reads weights in fp32 or int8. */
async function training(context: Context, name: DecoderName): Promise<Table> {
  const path = await modelFolder(context, name, "int8");
  context.say("measuring: training");
  const { milliseconds, peakBytes } = await trainingStepCost(context, name, path, ROUNDS);
  return {
    title: `${modelTitle(name)} in int8: training an adapter`,
    columns,
    rows: [
      { what: "step, ms", value: milliseconds },
      { what: "peak MB", value: peakBytes / MB },
    ],
    notes: [
      `${trainingStep.batch} examples of ${trainingStep.tokens} tokens, median of ${ROUNDS} steps; random weights`,
    ],
  };
}
