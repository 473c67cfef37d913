import { existsSync, mkdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { randomStreams } from "../../src/core/random.js";
import { type ClientCost, fedMaeConfigSchema, measureClients } from "../../src/fedmae.js";
import { encodePng } from "../../src/media/decode/image/encode-png.js";
import type { Measurement } from "../measurement.js";

/** ViT-B/16 at 224 pixels with one decoder block, the shape from which both papers start. */
const shape = { depth: 12, batchSize: 8 };

const columns = [
  { key: "who", title: "" },
  { key: "blocks", title: "blocks" },
  { key: "parameters", title: "parameters, M", digits: 1 },
  { key: "down", title: "down, MB", digits: 1 },
  { key: "up", title: "up, MB", digits: 1 },
  { key: "peak", title: "peak, MB", digits: 1 },
  { key: "time", title: "ms per image", digits: 1 },
];

/** Width and height of the images in pixels, and their number. */
const SIDE = 256;
const PICTURES = 24;

export const fedMae: Measurement = {
  summary: "a federated client of one block beside one of full depth, ViT-B/16 shape",
  async run({ folder, say }) {
    const pictures = await noisePictures(join(folder, "pictures"));
    say("measuring: fedmae, two clients");
    const config = fedMaeConfigSchema.parse({
      output: folder,
      clients: [{ name: "client", path: folder }],
      mode: "parallel",
      rounds: 1,
      ...shape,
    });
    const { client, fullDepth } = await measureClients(config, pictures);
    const ratio = (of: (cost: ClientCost) => number) => of(fullDepth) / of(client);
    const row = (who: string, of: (read: (cost: ClientCost) => number) => number, megabytes: number) => ({
      who,
      blocks: of(({ blocks }) => blocks),
      parameters: of(({ parameters }) => parameters) / megabytes,
      down: of(({ bytesDown }) => bytesDown) / megabytes,
      up: of(({ bytesUp }) => bytesUp) / megabytes,
      peak: of(({ peakBytes }) => peakBytes) / megabytes,
      time: of((cost) => cost.millisecondsPerImage),
    });
    return [
      {
        title: `a client's round: ViT-B/16, 224 pixels, batches of ${shape.batchSize}, fp32, 1 thread`,
        columns,
        rows: [
          row("one block", (read) => read(client), 1e6),
          row("full depth", (read) => read(fullDepth), 1e6),
          row("full depth over one block", ratio, 1),
        ],
        notes: ["each in its own process; peak: all resident memory of the process, including Node and images"],
      },
    ];
  },
};

/** Noise can replace photographs, because only time and memory are measured. */
async function noisePictures(folder: string): Promise<string[]> {
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
