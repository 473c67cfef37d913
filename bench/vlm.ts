import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { median } from "../src/cli/measure/median.js";
import { sampleMedium } from "../src/media/sample-medium.js";
import { MANIFEST_FILE } from "../src/model/manifest.js";
import { load, type Model } from "../src/pipeline.js";
import { runInFreshProcess } from "./fresh-process.js";
import type { Context, Measurement } from "./measurement.js";
import { folderBytes } from "./models.js";
import type { Table } from "./table.js";
import { type VlmName, vlmShapes, writeVlm } from "./vlm-shapes.js";

const ROUNDS = 3;
const NEW_TOKENS = 17;
const MB = 1e6;

/** Tokens of the text beside the visual tokens; the tokenizer of random models has one per byte. */
const TEXT = "abcdefghijklmnop";

/** The encoder is always int8, because int4 makes it slower. */
const precisions = ["int8", "int4"] as const;

export const vlm: Measurement = {
  summary: "public vision-language models: building, memory, and the times of a caption in int8 and int4",
  async run(context) {
    const rows: Record<string, number | string>[] = [];
    for (const name of Object.keys(vlmShapes) as VlmName[]) {
      for (const precision of precisions) {
        const row = await measure(context, name, precision);
        context.say(JSON.stringify(row));
        rows.push(row);
      }
      // Weights take up to 4 GB.
      rmSync(join(context.folder, `vlm-${name}`), { recursive: true, force: true });
    }
    return [table(rows)];
  },
};

function table(rows: readonly Record<string, number | string>[]): Table {
  return {
    title: "vision-language models: a caption",
    columns: [
      { key: "model", title: "model" },
      { key: "decoder", title: "decoder" },
      { key: "disk", title: "disk, MB", digits: 0 },
      { key: "build", title: "build, processor s", digits: 0 },
      { key: "buildPeak", title: "build, peak MB", digits: 0 },
      { key: "peak", title: "serving, peak MB", digits: 0 },
      { key: "tokens", title: "visual tokens", digits: 0 },
      { key: "encoder", title: "encoder, ms", digits: 0 },
      { key: "prefill", title: "prefill, ms", digits: 0 },
      { key: "again", title: "prefill again, ms", digits: 0 },
      { key: "token", title: "each token, ms", digits: 1 },
    ],
    rows,
    notes: [
      `one image at a time, ${TEXT.length} tokens of text beside the visual ones, greedy, medians of ${ROUNDS}; encoders in int8`,
      "milliseconds of processor time; on two idle cores, encoder and prefill can take half of it at best",
      "prefill: until the first token; again: of another text about the same image; random weights",
    ],
  };
}

async function measure(context: Context, name: VlmName, precision: "int8" | "int4") {
  const source = join(context.folder, `vlm-${name}`);
  if (!existsSync(source)) {
    context.say(`making random weights: ${source}`);
    rmSync(`${source}.part`, { recursive: true, force: true });
    writeVlm(`${source}.part`, name);
    renameSync(`${source}.part`, source);
  }
  const output = join(context.folder, `vlm-${name}-${precision}`);
  rmSync(output, { recursive: true, force: true });
  context.say(`measuring: ${name}, ${precision}`);
  const built = await runInFreshProcess({
    kind: "build",
    options: {
      output,
      vlm: { path: source, given: source, encoderPrecision: "int8", decoderPrecision: precision },
      adapters: [],
    },
  });
  shortenPrompt(output);
  const { peakBytes } = await runInFreshProcess({ kind: "caption", path: output });
  const model = await load(output, { stateCacheBytes: 0 });
  try {
    const times = await captionTimes(model);
    return {
      model: name,
      decoder: precision,
      disk: folderBytes(output) / MB,
      build: built.processorMilliseconds / 1000,
      buildPeak: built.peakBytes / MB,
      peak: peakBytes / MB,
      tokens: model.visualTokens({}),
      ...times,
    };
  } finally {
    await model.close();
    rmSync(output, { recursive: true, force: true });
  }
}

/** Random models have a tokenizer of bytes, so that real prompts would be several times as long. */
function shortenPrompt(folder: string): void {
  const path = join(folder, MANIFEST_FILE);
  const manifest = JSON.parse(readFileSync(path, "utf8"));
  manifest.tasks.caption.prompt = `{medium}${TEXT}`;
  writeFileSync(path, JSON.stringify(manifest));
}

/** Milliseconds of processor time of all threads, so that other programs on the machine change little. */
async function processorTime(work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** Each round has an image of its own, because the visual tokens of an image are computed once. */
async function captionTimes(model: Model) {
  const rounds: { encoder: number; prefill: number; again: number; token: number }[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const image = await sampleMedium("image", round);
    const medium = await model.encode(image);
    const encoder = await processorTime(() => model.encode(image));
    const caption = (tokens: number) =>
      processorTime(() => medium.caption({ maxNewTokens: tokens, minNewTokens: tokens }));
    const [prefill, again, all] = [await caption(1), await caption(1), await caption(NEW_TOKENS)];
    // The first round opens the adapter and warms up.
    if (round > 0) rounds.push({ encoder, prefill, again, token: (all - again) / (NEW_TOKENS - 1) });
  }
  const middle = (key: keyof (typeof rounds)[number]) => median(rounds.map((times) => times[key]));
  return { encoder: middle("encoder"), prefill: middle("prefill"), again: middle("again"), token: middle("token") };
}
