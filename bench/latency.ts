import { median } from "../src/cli/measure/median.js";
import { sampleMedium } from "../src/media/sample-medium.js";
import { sampleWords } from "../src/media/sample-words.js";
import { load, type Model, type Timings } from "../src/pipeline.js";
import { type Context, type Measurement, precisions } from "./measurement.js";
import { modelFolder } from "./models.js";

const ROUNDS = 11;
const NEW_TOKENS = 16;

export const latency: Measurement = {
  summary: "milliseconds per stage of a caption, in each precision",
  async run(context) {
    const image = await sampleMedium("image");
    const opened = await openModels(context);
    try {
      context.say(`measuring: latency, ${ROUNDS} rounds`);
      // The first caption of a model opens its adapter and warms up, so it does not count.
      for (const { model } of opened) await captionTimes(model, image);
      for (let round = 0; round < ROUNDS; round++) {
        for (const { model, timings } of opened) timings.push(await captionTimes(model, image));
      }
    } finally {
      await Promise.all(opened.map(({ model }) => model.close()));
    }
    return [
      {
        title: `latency: caption by ViT-B/16 + opt-125m, ms, medians of ${ROUNDS}`,
        columns: [{ key: "precision", title: "precision" }, ...stages.map((key) => ({ key, title: key, digits: 1 }))],
        rows: opened.map(({ precision, timings }) => ({ precision, ...medians(timings) })),
        notes: [
          `${sampleWords.image}, ${(image.length / 1000).toFixed(0)} kB; ${NEW_TOKENS} new tokens, greedy; one request at a time`,
        ],
      },
    ];
  },
};

export const stages = ["media", "encoder", "adapter", "decoder", "total"] as const;
export type StageTimes = Timings & { readonly total: number };

async function openModels(context: Context) {
  const opened: { precision: string; model: Model; timings: StageTimes[] }[] = [];
  for (const precision of precisions) {
    const model = await load(await modelFolder(context, "opt", precision));
    opened.push({ precision, model, timings: [] });
  }
  return opened;
}

/** Greedy decoding of exactly `NEW_TOKENS` tokens. */
export async function captionTimes(model: Model, image: Uint8Array): Promise<StageTimes> {
  const started = performance.now();
  const options = { beams: 1, maxNewTokens: NEW_TOKENS, minNewTokens: NEW_TOKENS };
  const { timings } = await model.caption(image, options);
  return { ...timings, total: performance.now() - started };
}

function medians(timings: readonly StageTimes[]): Record<string, number> {
  return Object.fromEntries(stages.map((stage) => [stage, median(timings.map((times) => times[stage]))]));
}
