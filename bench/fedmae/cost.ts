import { existsSync, mkdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { at } from "../../src/core/at.js";
import { randomStreams } from "../../src/core/random.js";
import { stagesOf } from "../../src/fedmae/cascade.js";
import { measureClient } from "../../src/fedmae/client-cost.js";
import type { CascadeMode } from "../../src/fedmae/config.js";
import { type ClientCost, fedMaeConfigSchema } from "../../src/fedmae.js";
import { encodePng } from "../../src/media/decode/image/encode-png.js";
import type { Measurement } from "../measurement.js";

/** ViT-B/16 at 224 pixels with one decoder block, the shape from which both papers start. */
const shape = { depth: 12, batchSize: 8 };

const columns = [
  { key: "who", title: "" },
  { key: "blocks", title: "blocks" },
  { key: "trained", title: "trained parameters, M", digits: 1 },
  { key: "down", title: "down, MB", digits: 1 },
  { key: "up", title: "up, MB", digits: 1 },
  { key: "peak", title: "peak, MB", digits: 1 },
  { key: "time", title: "ms per image", digits: 1 },
];

/** What a client computes in a round: mode, and stage from 0. */
const rounds = [
  ["parallel, repeat", "parallel", 0],
  ["greedy, first block", "greedy", 0],
  ["greedy, last block", "greedy", shape.depth - 1],
  ["full", "full", 0],
] as const satisfies readonly (readonly [string, CascadeMode, number])[];

/** Width and height of the images in pixels, and their number. */
const SIDE = 256;
const PICTURES = 24;

export const fedMae: Measurement = {
  summary: "a federated client in every mode beside one of full depth, ViT-B/16 shape",
  async run({ folder, say }) {
    const pictures = await noisePictures(join(folder, "pictures"));
    const config = fedMaeConfigSchema.parse({
      output: folder,
      clients: [{ name: "client", path: folder }],
      rounds: 1,
      ...shape,
    });
    const measured: (readonly [who: string, cost: Omit<ClientCost, "name">])[] = [];
    for (const [who, mode, stage] of rounds) {
      say(`measuring: fedmae, ${who}`);
      measured.push([who, await measureClient(config, at(stagesOf(mode, shape.depth), stage), pictures)]);
    }
    const row = (who: string, of: (read: (cost: Omit<ClientCost, "name">) => number) => number, megabytes: number) => ({
      who,
      blocks: of(({ blocks }) => blocks),
      trained: of(({ trainedParameters }) => trainedParameters) / megabytes,
      down: of(({ bytesDown }) => bytesDown) / megabytes,
      up: of(({ bytesUp }) => bytesUp) / megabytes,
      peak: of(({ peakBytes }) => peakBytes) / megabytes,
      time: of((cost) => cost.millisecondsPerImage),
    });
    const [, full] = at(measured, measured.length - 1);
    return [
      {
        title: `a client's round: ViT-B/16, 224 pixels, batches of ${shape.batchSize}, fp32, 1 thread`,
        columns,
        rows: [
          ...measured.map(([who, cost]) => row(who, (read) => read(cost), 1e6)),
          ...measured.slice(0, -1).map(([who, cost]) => row(`full / ${who}`, (read) => read(full) / read(cost), 1)),
        ],
        notes: ["each in its own process; peak: all resident memory of the process, including Node and images"],
      },
    ];
  },
};

/** Noise can replace photographs, because only time and memory are measured. */
export async function noisePictures(folder: string): Promise<string[]> {
  mkdirSync(folder, { recursive: true });
  const [random = Math.random] = randomStreams(0, 1);
  const paths = Array.from({ length: PICTURES }, (_, index) => join(folder, `${index}.png`));
  for (const path of paths) {
    if (existsSync(path)) continue;
    const pixels = Uint8Array.from({ length: SIDE * SIDE * 3 }, () => 256 * random());
    await writeFile(path, await encodePng(pixels, SIDE, SIDE));
  }
  return paths;
}
