import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { median } from "../src/cli/measure/median.js";
import type { GenerationOptions } from "../src/generation/options.js";
import { writeOnnx } from "../src/graph/onnx-writer.js";
import { quantizeGraph } from "../src/graph/quantize.js";
import { openSession } from "../src/runtime/session.js";
import { buildDecoder } from "../test/support/tiny-backbones.js";
import { ClockedSession, runGreedy } from "./greedy-run.js";
import type { Context, Measurement } from "./measurement.js";
import { publicModel, qwen3Small } from "./public-shapes.js";

const BATCH = 16;
const ROUNDS = 2;
const NEW_TOKENS = 5;
/** The head is as large as that of the whole model; more layers would hide its time. */
const LAYERS = 1;

const penalised: GenerationOptions = { repetitionPenalty: 1.2, presencePenalty: 0.5 };

/** The options of each sequence of a batch. */
const cases: readonly (readonly [name: string, options: (row: number) => GenerationOptions])[] = [
  ["no penalties", () => ({})],
  ["penalties of one sequence", (row) => (row === 0 ? penalised : {})],
  ["penalties of all sequences", () => penalised],
  ["beams of 4, without penalties", (row) => (row < BATCH / 4 ? { beams: 4 } : { maxNewTokens: 1 })],
  ["beams of 4, with penalties", (row) => (row < BATCH / 4 ? { ...penalised, beams: 4 } : { maxNewTokens: 1 })],
  ["top-k of 50", () => ({ temperature: 1, topK: 50 })],
  ["top-p of 0.9", () => ({ temperature: 1, topP: 0.9 })],
  ["20 alternatives", () => ({ topLogprobs: 20 })],
];

export const logits: Measurement = {
  summary: "cost of penalties, biases and sampling with the vocabulary of Qwen3 (151,936 tokens), batch 16",
  async run(context) {
    const folder = mkdtempSync(join(context.folder, "logits-"));
    try {
      return [await measured(context, folder)];
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

async function measured({ say }: Context, folder: string) {
  const { config } = qwen3Small;
  const layers = { num_hidden_layers: LAYERS, layer_types: Array.from({ length: LAYERS }, () => "full_attention") };
  const model = publicModel({ ...qwen3Small, layers: LAYERS, config: { ...config, ...layers } });
  const { graph, shape } = buildDecoder(model.checkpoint, model.config);
  const path = join(folder, "model.onnx");
  writeOnnx(quantizeGraph(graph, { precision: "int8" }), path);
  const session = new ClockedSession(await openSession(path));
  const steps = new Map(cases.map(([name]) => [name, [] as { total: number; outside: number }[]]));
  try {
    for (let round = 0; round <= ROUNDS; round++) {
      say(`measuring: logits, round ${round} of ${ROUNDS}`);
      for (const [name, options] of cases) {
        const run = await runGreedy(session, shape, { batch: BATCH, newTokens: NEW_TOKENS, optionsOf: options });
        // The first round warms up.
        if (round > 0) steps.get(name)?.push(...run.steps);
      }
    }
  } finally {
    await session.close();
  }
  const medians = (name: string) => {
    const times = steps.get(name) ?? [];
    return { total: median(times.map(({ total }) => total)), outside: median(times.map(({ outside }) => outside)) };
  };
  const least = medians("no penalties").total;
  return {
    title: `logits: a step of ${BATCH} sequences, one layer of Qwen3-0.6B and its head, int8, ms`,
    columns: [
      { key: "name", title: "" },
      { key: "total", title: "step", digits: 1 },
      { key: "outside", title: "outside the graph", digits: 1 },
      { key: "more", title: "more than without penalties", digits: 1 },
    ],
    rows: cases.map(([name]) => ({ name, ...medians(name), more: medians(name).total - least })),
    notes: [`random weights, medians of ${ROUNDS} rounds of ${NEW_TOKENS - 1} steps in turn; the prefill is left out`],
  };
}
