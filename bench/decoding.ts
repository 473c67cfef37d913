import { join } from "node:path";
import type { DecoderShape } from "../src/backbones/backbone.js";
import { median } from "../src/cli/measure/median.js";
import { readOnnx } from "../src/graph/onnx-reader.js";
import { readManifest } from "../src/model/manifest.js";
import { openSession } from "../src/runtime/session.js";
import { ClockedSession, type GreedyRun, PROMPT_TOKENS, runGreedy } from "./greedy-run.js";
import { type Context, type Measurement, precisions } from "./measurement.js";
import { type DecoderName, decoderTitle, modelFolder } from "./models.js";
import type { Table } from "./table.js";
import { weightBytesPerStep } from "./weight-traffic.js";

const ROUNDS = 5;
const NEW_TOKENS = 32;
const batches = [1, 8, 16] as const;
/** A prompt takes only one step, so each round computes additional prompts. */
const EXTRA_PREFILLS = 3;

export const decoding: Measurement = {
  summary: "prefill and decoding of the opt-125m and SmolLM2-135M shapes, in each precision, at batch 1, 8 and 16",
  async run(context) {
    return [await decodingTable(context, "opt"), await decodingTable(context, "smol")];
  },
};

/** A decoder graph that is open in this thread. */
export interface OpenDecoder {
  readonly session: ClockedSession;
  readonly shape: DecoderShape;
  readonly weightBytes: number;
}

export async function openDecoder(folder: string): Promise<OpenDecoder> {
  const { decoder } = readManifest(folder);
  const path = join(folder, decoder.graph);
  return {
    session: new ClockedSession(await openSession(path)),
    shape: decoder.shape,
    weightBytes: weightBytesPerStep(readOnnx(path)),
  };
}

/** The measurements of one precision. */
interface Subject extends OpenDecoder {
  readonly precision: (typeof precisions)[number];
  readonly prefills: number[];
  readonly runs: Map<number, GreedyRun[]>;
}

async function decodingTable(context: Context, name: DecoderName): Promise<Table> {
  const subjects: Subject[] = [];
  try {
    for (const precision of precisions) {
      const opened = await openDecoder(await modelFolder(context, name, precision));
      subjects.push({
        ...opened,
        precision,
        prefills: [],
        runs: new Map(batches.map((batch) => [batch, []])),
      });
    }
    context.say(`measuring: decoding, ${decoderTitle(name)}, ${ROUNDS} rounds`);
    await measure(subjects);
  } finally {
    await Promise.all(subjects.map(({ session }) => session.close()));
  }
  return {
    title: `decoding: ${decoderTitle(name)}, ${PROMPT_TOKENS} prompt tokens, ${NEW_TOKENS} new ones`,
    columns,
    rows: subjects.flatMap((subject) => rowsOf(subject, subjects, context.machine.readBandwidth)),
    notes: [
      "read: weights per step, and per second at that step time; % of peak: share of the bandwidth measured above",
      `JavaScript: time outside session.run; medians over ${ROUNDS} rounds that alternate all precisions`,
    ],
  };
}

/** Alternates the precisions in each round, so that a drift of the machine affects all of them. */
async function measure(subjects: readonly Subject[]): Promise<void> {
  for (const { session, shape } of subjects) {
    for (const batch of batches) await runGreedy(session, shape, { batch, newTokens: 2 });
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const batch of batches) {
      for (const { session, shape, runs } of subjects) {
        runs.get(batch)?.push(await runGreedy(session, shape, { batch, newTokens: NEW_TOKENS }));
      }
    }
    for (let extra = 0; extra < EXTRA_PREFILLS; extra++) {
      for (const { session, shape, prefills } of subjects) {
        prefills.push((await runGreedy(session, shape, { newTokens: 1 })).prefill.total);
      }
    }
  }
}

const columns: Table["columns"] = [
  { key: "precision", title: "precision" },
  { key: "batch", title: "batch" },
  { key: "prefillMs", title: "prefill ms", digits: 1 },
  { key: "stepMs", title: "step ms", digits: 2 },
  { key: "tokensPerSecond", title: "tokens/s", digits: 1 },
  { key: "speedup", title: "x fp32", digits: 2 },
  { key: "readMegabytes", title: "read MB", digits: 1 },
  { key: "readGigabytesPerSecond", title: "GB/s", digits: 1 },
  { key: "bandwidthPercent", title: "% of peak" },
  { key: "javaScriptPercent", title: "JavaScript %", digits: 1 },
];

function rowsOf(subject: Subject, subjects: readonly Subject[], bandwidth: number): Table["rows"] {
  const baseline = subjects.find(({ precision }) => precision === "fp32") ?? subject;
  return batches.map((batch) => {
    const stepMs = medianStep(subject, batch);
    const rate = subject.weightBytes / (stepMs / 1000);
    const steps = stepsOf(subject, batch);
    return {
      precision: subject.precision,
      batch,
      ...(batch === 1 ? { prefillMs: medianPrefill(subject) } : {}),
      stepMs,
      tokensPerSecond: (1000 * batch) / stepMs,
      speedup: medianStep(baseline, batch) / stepMs,
      readMegabytes: subject.weightBytes / 1e6,
      readGigabytesPerSecond: rate / 1e9,
      bandwidthPercent: (100 * rate) / bandwidth,
      javaScriptPercent: 100 * median(steps.map(({ outside, total }) => outside / total)),
    };
  });
}

function stepsOf({ runs }: Subject, batch: number) {
  return (runs.get(batch) ?? []).flatMap(({ steps }) => steps);
}

function medianStep(subject: Subject, batch: number): number {
  return median(stepsOf(subject, batch).map(({ total }) => total));
}

function medianPrefill({ prefills, runs }: Subject): number {
  return median([...prefills, ...(runs.get(1) ?? []).map(({ prefill }) => prefill.total)]);
}
