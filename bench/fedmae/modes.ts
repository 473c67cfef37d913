import { join } from "node:path";
import type { EncoderFolder } from "../../src/fedmae.js";
import type { Measurement } from "../measurement.js";
import type { Table } from "../table.js";
import { probeImages, type Split, splits } from "./icon-clients.js";
import { decodeSet, type Pool, type ProbeSet, ridgeProbe } from "./ridge-probe.js";
import { type Mode, modes, pretrainedEncoder, untrainedEncoder } from "./runs.js";

export const seeds = [0, 1, 2];
/** The 97.5 % quantile of Student's t with one degree of freedom less than there are seeds. */
const T_QUANTILE = 4.303;

export const columns = [
  { key: "encoder", title: "encoder" },
  { key: "cls", title: "class token, %" },
  { key: "mean", title: "mean of patches, %" },
  { key: "gain", title: "mean of patches over untrained, points" },
];

type Accuracies = readonly Readonly<Record<Pool, number>>[];

export const fedMaeModes: Measurement = {
  summary: "linear probes of the encoders from every mode, in a style that no client had",
  async run({ folder: root, say }) {
    const folder = join(root, "fedmae");
    const { training, test } = await probeSets(folder);
    const probe = (encoder: EncoderFolder) => ridgeProbe(encoder, training, test);
    const untrained = await bySeed(async (seed) => probe(untrainedEncoder(seed)));
    const tables: Table[] = [];
    for (const split of splits) {
      const rows = [rowOf("untrained", untrained, untrained)];
      for (const mode of Object.keys(modes) as Mode[]) {
        say(`measuring: ${split}, ${mode}`);
        const found = await bySeed(async (seed) => probe(await pretrainedEncoder(folder, { split, mode, seed })));
        rows.push(rowOf(mode, found, untrained));
      }
      tables.push(table(split, rows, { training, test }));
    }
    return tables;
  },
};

/** The decoded images of the probe, which are the same for all encoders. */
export async function probeSets(folder: string): Promise<Readonly<Record<"training" | "test", ProbeSet>>> {
  const images = await probeImages(join(folder, "icons"));
  const { image_size: side } = untrainedEncoder(0).config;
  return { training: await decodeSet(images.training, side), test: await decodeSet(images.test, side) };
}

export async function bySeed(measure: (seed: number) => Promise<Record<Pool, number>>): Promise<Accuracies> {
  const found = [];
  for (const seed of seeds) found.push(await measure(seed));
  return found;
}

export function rowOf(encoder: string, found: Accuracies, untrained: Accuracies) {
  const gains = found.map(({ mean }, index) => mean - (untrained[index]?.mean ?? 0));
  const cells = { encoder, cls: interval(found.map(({ cls }) => cls)), mean: interval(found.map(({ mean }) => mean)) };
  return found === untrained ? cells : { ...cells, gain: interval(gains) };
}

/** The mean and the half width of its 95 % confidence interval over the seeds, in percent. */
function interval(shares: readonly number[]): string {
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  const squares = shares.reduce((sum, share) => sum + (share - mean) ** 2, 0);
  const error = Math.sqrt(squares / (shares.length - 1) / shares.length);
  return `${(100 * mean).toFixed(1)} ± ${(100 * T_QUANTILE * error).toFixed(1)}`;
}

function table(split: Split, rows: Table["rows"], sets: Readonly<Record<"training" | "test", ProbeSet>>): Table {
  const { labels } = sets.training;
  return {
    title: `linear probe of the last block, clients divided by: ${split}`,
    columns,
    rows,
    notes: [
      `${labels.length} training images, ${sets.test.labels.length} test images in another style, ${new Set(labels).size} kinds`,
      `means and 95 % confidence intervals (Student's t) over ${seeds.length} seeds`,
    ],
  };
}
