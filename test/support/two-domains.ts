import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { type Random, randomStreams } from "../../src/core/random.js";
import { buildModel, readTrainingConfig, type TrainingResult, trainModel } from "../../src/index.js";
import { writeTrainingConfig } from "./training-config.js";

/** Two kinds of small images, and a tiny model with an adapter that was trained on the first kind. */

const golden = "test/fixtures/goldens/opt-shared-1token";
const SIDE = 32;

export type Domain = "discs" | "stripes";

const painters: Readonly<Record<Domain, (random: Random) => string>> = {
  discs: (random) => {
    const ground = `hsl(${40 * random()}, 60%, ${70 + 20 * random()}%)`;
    const color = `hsl(${40 * random()}, 80%, ${30 + 20 * random()}%)`;
    const [x, y, r] = [10 + 12 * random(), 10 + 12 * random(), 5 + 5 * random()];
    return `<rect width="32" height="32" fill="${ground}"/><circle cx="${x}" cy="${y}" r="${r}" fill="${color}"/>`;
  },
  stripes: (random) => {
    const color = `hsl(${180 + 60 * random()}, 80%, ${25 + 20 * random()}%)`;
    const lines = Array.from({ length: 9 }, (_, line) => `M${4 * line + 3 * random()} 0v32`).join("");
    return `<rect width="32" height="32" fill="#dff"/><path d="${lines}" stroke="${color}" stroke-width="2"/>`;
  },
};

/** The `index`-th image of a domain; different indices give different images. */
export function domainPicture(domain: Domain, index: number): Promise<Buffer> {
  const [random = Math.random] = randomStreams(index, 1);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${SIDE}" height="${SIDE}">${painters[domain](random)}</svg>`;
  return sharp(Buffer.from(svg)).png().toBuffer();
}

/** Writes images from index `first` and a question about each to `NAME.jsonl`; returns its path. */
export async function writeDomain(
  folder: string,
  name: string,
  { domain, first, count }: { readonly domain: Domain; readonly first: number; readonly count: number },
): Promise<string> {
  mkdirSync(join(folder, name), { recursive: true });
  const lines: string[] = [];
  for (let index = first; index < first + count; index++) {
    const image = `${name}/${index}.png`;
    writeFileSync(join(folder, image), await domainPicture(domain, index));
    const isLeft = index % 3 === 0;
    lines.push(JSON.stringify({ image, question: "what is it?", answer: isLeft ? "a disc" : "a red disc" }));
  }
  const path = join(folder, `${name}.jsonl`);
  writeFileSync(path, `${lines.join("\n")}\n`);
  return path;
}

/** Builds the model folder `FOLDER/model` without adapters. */
export async function buildBareModel(folder: string): Promise<string> {
  const output = join(folder, "model");
  await buildModel({
    encoder: { path: join(golden, "encoder"), given: "encoder", precision: "fp32", preprocessing: "source" },
    decoder: { path: join(golden, "decoder"), given: "decoder", precision: "fp32" },
    output,
    adapters: [],
  });
  return output;
}

/** Trains the adapter `discs` on 200 images, and installs it in the model folder. */
export async function trainOnDiscs(folder: string, changes: object = {}): Promise<TrainingResult> {
  await writeDomain(folder, "train", { domain: "discs", first: 0, count: 200 });
  const config = writeTrainingConfig(folder, "discs", {
    data: { train: { path: "train.jsonl" } },
    adapter: { name: "discs", injectedStates: 1, startLayer: 3, endLayer: 6 },
    epochs: 1,
    batchSize: 32,
    install: true,
    ...changes,
  });
  return trainModel(readTrainingConfig(config));
}
