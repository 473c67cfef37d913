import { existsSync } from "node:fs";
import { join } from "node:path";
import { median } from "../src/cli/measure/median.js";
import { measureReadBandwidth } from "../src/cli/measure/read-bandwidth.js";
import { type OpenDecoder, openDecoder } from "./decoding.js";
import { PROMPT_TOKENS, type RunOptions, runGreedy } from "./greedy-run.js";
import { llamaWeightBytes, writeLlamaGguf } from "./llama-gguf.js";
import type { Context, Measurement } from "./measurement.js";
import { modelFolder, sourceFolder } from "./models.js";
import {
  LLAMA_FOLDER_VARIABLE,
  LLAMA_PACKAGE,
  LlamaBatch,
  type LlamaModel,
  type Run,
  startLlama,
} from "./node-llama-cpp.js";
import type { Column, Table } from "./table.js";

const ROUNDS = 7;
const NEW_TOKENS = 32;
const BEAMS = 3;
/** Texts that are generated together. */
const batches = [1, 8, 16] as const;
/** Tokens of a prompt. */
const lengths = [PROMPT_TOKENS, 100, 300, 700] as const;

/** The precisions that are compared. The first pair computes the same function, so its tokens must be equal. */
const pairs = [
  { theirs: "F32", ours: "fp32" },
  { theirs: "Q8_0", ours: "int8" },
  { theirs: "Q4_0", ours: "int4" },
] as const;
type Pair = (typeof pairs)[number];

export const llamaCpp: Measurement = {
  summary: `decoding, prefill and beams of SmolLM2-135M's shape beside llama.cpp, if ${LLAMA_PACKAGE} is installed manually`,
  async run(context) {
    const llama = await startLlama();
    if (!llama) {
      context.say(
        `llama-cpp: skipped: ${LLAMA_PACKAGE} is not installed; ${LLAMA_FOLDER_VARIABLE} can name a folder that contains it`,
      );
      return [];
    }
    const rounds = context.rounds ?? ROUNDS;
    const rows = { decoding: [] as Row[], prefill: [] as Row[], beams: [] as Row[] };
    try {
      for (const pair of pairs) {
        context.say(`measuring: llama-cpp, ${pair.theirs} and ${pair.ours}, ${rounds} rounds`);
        const ours = await openDecoder(await modelFolder(context, "smol", pair.ours));
        const model = await llama.loadModel({ modelPath: ggufFile(context, pair.theirs) });
        try {
          const both: Both = { pair, ours, model, rounds };
          rows.decoding.push(...(await decodingRows(context, both)));
          for (const tokens of lengths) rows.prefill.push(await prefillRow(both, tokens));
          rows.beams.push(await beamsRow(both));
        } finally {
          await model.dispose();
          await ours.session.close();
        }
      }
    } finally {
      await llama.dispose();
    }
    return tablesOf(rows, rounds);
  },
};

type Row = Table["rows"][number];

/** The same model in both programs. */
interface Both {
  readonly pair: Pair;
  readonly ours: OpenDecoder;
  readonly model: LlamaModel;
  readonly rounds: number;
}

function ggufFile(context: Context, type: Pair["theirs"]): string {
  const path = join(context.folder, `smol-${type}.gguf`);
  if (existsSync(path)) return path;
  const source = sourceFolder(context, "smol");
  context.say(`writing: ${path}`);
  writeLlamaGguf(source, path, type);
  return path;
}

/** Generates with both programs in turn, so that a drift of the machine affects both. */
async function alternate({ ours, model, rounds }: Both, options: RunOptions): Promise<{ ours: Run[]; theirs: Run[] }> {
  const { newTokens, batch = 1, promptTokens = PROMPT_TOKENS } = options;
  const theirs = await LlamaBatch.open(model, batch, promptTokens + newTokens);
  const runs = { ours: [] as Run[], theirs: [] as Run[] };
  try {
    for (let round = 0; round <= rounds; round++) {
      runs.ours.push(await runOurs(ours, options));
      runs.theirs.push(await theirs.run(promptTokens, newTokens));
    }
  } finally {
    await theirs.close();
  }
  // The first round warms up and does not count.
  return { ours: runs.ours.slice(1), theirs: runs.theirs.slice(1) };
}

async function runOurs({ session, shape }: OpenDecoder, options: RunOptions): Promise<Run> {
  const { prefill, steps, tokens } = await runGreedy(session, shape, options);
  return { prefill: prefill.total, steps: steps.map(({ total }) => total), tokens };
}

const stepOf = (runs: readonly Run[]) => median(runs.flatMap(({ steps }) => steps));
const prefillOf = (runs: readonly Run[]) => median(runs.map(({ prefill }) => prefill));
const totalOf = (runs: readonly Run[]) =>
  median(runs.map(({ prefill, steps }) => steps.reduce((sum, step) => sum + step, prefill)));
const nameOf = ({ ours, theirs }: Pair) => ({ epalm: ours, llamaCpp: theirs });

async function decodingRows(context: Context, both: Both): Promise<Row[]> {
  const theirBytes = llamaWeightBytes(sourceFolder(context, "smol"), both.pair.theirs);
  const rows: Row[] = [];
  for (const batch of batches) {
    const before = await measureReadBandwidth();
    const runs = await alternate(both, { batch, newTokens: NEW_TOKENS });
    const bandwidth = (before + (await measureReadBandwidth())) / 2;
    const [step, theirStep] = [stepOf(runs.ours), stepOf(runs.theirs)];
    const [first, theirFirst] = [runs.ours[0]?.tokens ?? [], runs.theirs[0]?.tokens ?? []];
    const percent = (bytes: number, milliseconds: number) => (100 * bytes) / (milliseconds / 1000) / bandwidth;
    rows.push({
      ...nameOf(both.pair),
      batch,
      tokensPerSecond: (1000 * batch) / step,
      theirTokensPerSecond: (1000 * batch) / theirStep,
      decodingRatio: theirStep / step,
      bandwidth: bandwidth / 1e9,
      bandwidthPercent: percent(both.ours.weightBytes, step),
      theirBandwidthPercent: percent(theirBytes, theirStep),
      sameTokens: first.filter((token, at) => token === theirFirst[at]).length,
    });
  }
  return rows;
}

async function prefillRow(both: Both, promptTokens: number): Promise<Row> {
  const runs = await alternate(both, { promptTokens, newTokens: 1 });
  const [prefillMs, theirPrefillMs] = [prefillOf(runs.ours), prefillOf(runs.theirs)];
  const prefillRatio = theirPrefillMs / prefillMs;
  return { ...nameOf(both.pair), promptTokens, prefillMs, theirPrefillMs, prefillRatio };
}

/** llama.cpp has no beam search to compare with. */
async function beamsRow({ pair, ours, rounds }: Both): Promise<Row> {
  const runs = { greedy: [] as Run[], beams: [] as Run[] };
  for (let round = 0; round <= rounds; round++) {
    runs.greedy.push(await runOurs(ours, { newTokens: NEW_TOKENS }));
    runs.beams.push(await runOurs(ours, { newTokens: NEW_TOKENS, beams: BEAMS }));
  }
  const [greedyMs, beamsMs] = [totalOf(runs.greedy.slice(1)), totalOf(runs.beams.slice(1))];
  return { epalm: pair.ours, greedyMs, beamsMs, beamsOverGreedy: beamsMs / greedyMs };
}

const names: readonly Column[] = [
  { key: "epalm", title: "epalm" },
  { key: "llamaCpp", title: "llama.cpp" },
];

const decodingColumns: readonly Column[] = [
  ...names,
  { key: "batch", title: "batch", isLabel: true },
  { key: "tokensPerSecond", title: "tokens/s", digits: 1 },
  { key: "theirTokensPerSecond", title: "theirs", digits: 1 },
  { key: "decodingRatio", title: "x", digits: 2, better: "higher" },
  { key: "bandwidth", title: "GB/s can be read", digits: 1 },
  { key: "bandwidthPercent", title: "% used" },
  { key: "theirBandwidthPercent", title: "theirs" },
  { key: "sameTokens", title: `same of ${NEW_TOKENS}` },
];

const prefillColumns: readonly Column[] = [
  ...names,
  { key: "promptTokens", title: "tokens", isLabel: true },
  { key: "prefillMs", title: "ms", digits: 1 },
  { key: "theirPrefillMs", title: "theirs", digits: 1 },
  { key: "prefillRatio", title: "x", digits: 2, better: "higher" },
];

const beamsColumns: readonly Column[] = [
  { key: "epalm", title: "epalm" },
  { key: "greedyMs", title: "greedy, ms", digits: 1 },
  { key: "beamsMs", title: `${BEAMS} beams, ms`, digits: 1 },
  { key: "beamsOverGreedy", title: "over greedy", digits: 2, better: "lower" },
];

function tablesOf(rows: Record<"decoding" | "prefill" | "beams", Row[]>, rounds: number): Table[] {
  const note = `x: epalm's speed divided by llama.cpp's; medians over ${rounds} rounds that alternate both`;
  const shape = "SmolLM2-135M, same weights";
  return [
    {
      title: `llama-cpp, decoding: ${shape}, ${PROMPT_TOKENS} prompt tokens, ${NEW_TOKENS} new ones`,
      columns: decodingColumns,
      rows: rows.decoding,
      notes: [note, "batch: as many parallel sequences of llama.cpp; % used: by reading all weights once per step"],
    },
    {
      title: `llama-cpp, prefill: ${shape}, until the first token, batch 1`,
      columns: prefillColumns,
      rows: rows.prefill,
      notes: [note],
    },
    {
      title: `beams: ${shape}, ${PROMPT_TOKENS} prompt tokens, ${NEW_TOKENS} new ones, whole texts`,
      columns: beamsColumns,
      rows: rows.beams,
    },
  ];
}
