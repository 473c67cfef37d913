import { rmSync } from "node:fs";
import { join } from "node:path";
import { median } from "../src/cli/measure/median.js";
import { sampleMedium } from "../src/media/sample-medium.js";
import { load } from "../src/pipeline.js";
import { peakResidentBytes } from "../src/runtime/peak-resident-bytes.js";
import { runInFreshProcess } from "./fresh-process.js";
import { captionTimes, type StageTimes, stages } from "./latency.js";
import type { Measurement } from "./measurement.js";
import { buildOptions, folderBytes } from "./models.js";

const ROUNDS = 3;
const MB = 1e6;

export const published: Measurement = {
  summary: "the published shape, ViT-B/16 + OPT-2.7B, in int4: building, opening and a caption",
  async run(context) {
    context.say("measuring: build");
    const path = join(context.folder, "published");
    rmSync(path, { recursive: true, force: true });
    const options = buildOptions(context, "opt2700m", "int4", path);
    const built = await runInFreshProcess({ kind: "build", options });
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
          title: "published: ViT-B/16 + OPT-2.7B in int4",
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
          ],
          notes: [`a caption of 16 tokens, greedy, medians of ${ROUNDS}; random weights`],
        },
      ];
    } finally {
      await model.close();
    }
  },
};
