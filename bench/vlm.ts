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
      for (const precision of precisions) rows.push(await measure(context, name, precision));
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
      { key: "build", title: "build, s", digits: 0 },
      { key: "buildPeak", title: "build, peak MB", digits: 0 },
      { key: "peak", title: "serving, peak MB", digits: 0 },
      { key: "tokens", title: "visual tokens", digits: 0 },
      { key: "encoder", title: "encoder, ms", digits: 0 },
      { key: "prefill", title: "prefill, ms", digits: 0 },
      { key: "token", title: "each token, ms", digits: 1 },
      { key: "total", title: "16 tokens, ms", digits: 0 },
    ],
    rows,
    notes: [
      `one image at a time, ${TEXT.length} tokens of text beside the visual ones, greedy, medians of ${ROUNDS}; encoders in int8`,
      "prefill: until the first token; random weights",
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
      build: built.milliseconds / 1000,
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

async function captionTimes(model: Model) {
  const image = await sampleMedium("image");
  const caption = async (tokens: number) => {
    const { timings } = await model.caption(image, { maxNewTokens: tokens, minNewTokens: tokens });
    return timings;
  };
  await caption(NEW_TOKENS);
  const rounds: { encoder: number; prefill: number; token: number; total: number }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const [first, all] = [await caption(1), await caption(NEW_TOKENS)];
    const token = (all.decoder - first.decoder) / (NEW_TOKENS - 1);
    const { media, encoder, adapter } = first;
    const total = media + encoder + adapter + first.decoder + (NEW_TOKENS - 1) * token;
    rounds.push({ encoder, prefill: first.decoder, token, total });
  }
  const middle = (key: keyof (typeof rounds)[number]) => median(rounds.map((times) => times[key]));
  return { encoder: middle("encoder"), prefill: middle("prefill"), token: middle("token"), total: middle("total") };
}
