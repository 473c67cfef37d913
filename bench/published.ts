import { rmSync } from "node:fs";
import { join } from "node:path";
import { median } from "../src/cli/measure/median.js";
import { sampleMedium } from "../src/media/sample-medium.js";
import { load } from "../src/pipeline.js";
import { peakResidentBytes } from "../src/runtime/peak-resident-bytes.js";
import { runInFreshProcess } from "./fresh-process.js";
import { captionTimes, type StageTimes, stages } from "./latency.js";
import type { Measurement } from "./measurement.js";
import { buildOptions, type DecoderName, folderBytes, modelTitle } from "./models.js";
import { trainingStep, trainingStepCost } from "./training.js";

const ROUNDS = 3;
const MB = 1e6;

export const published = buildAndCaption("opt2700m");
export const photographs = buildAndCaption("qwen3");

function buildAndCaption(name: DecoderName): Measurement {
  return {
    summary: `${modelTitle(name)} in int4: building, opening, a caption and a training step`,
    async run(context) {
      context.say("measuring: build");
      const path = join(context.folder, `int4-${name}`);
      rmSync(path, { recursive: true, force: true });
      const options = buildOptions(context, name, "int4", path);
      const built = await runInFreshProcess({ kind: "build", options });
      context.say("measuring: training");
      const step = await trainingStepCost(context, name, path, ROUNDS);
      context.say("measuring: captions");
      const started = performance.now();
      const model = await load(path);
      const openMilliseconds = performance.now() - started;
      try {
        const image = await sampleMedium("image");
        await captionTimes(model, image);
        const rounds: StageTimes[] = [];
        for (let round = 0; round < ROUNDS; round++) rounds.push(await captionTimes(model, image));
        return [
          {
            title: `${modelTitle(name)} in int4`,
            columns: [
              { key: "what", title: "what" },
              { key: "value", title: "value", digits: 1 },
            ],
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
              { what: "training step, ms", value: step.milliseconds },
              { what: "training, peak MB", value: step.peakBytes / MB },
            ],
            notes: [
              `a caption of 16 tokens, greedy; a training step of ${trainingStep.batch} examples of ${trainingStep.tokens} tokens`,
              `medians of ${ROUNDS}; random weights`,
            ],
          },
        ];
      } finally {
        await model.close();
      }
    },
  };
}
