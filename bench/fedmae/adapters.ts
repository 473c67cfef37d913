import { existsSync } from "node:fs";
import { join } from "node:path";
import { writeSceneSet } from "../../models/recipe/data/images/scene-sets.js";
import { slotLayers } from "../../models/recipe/language-model/language-model.js";
import { writeEncoderFolder } from "../../src/fedmae.js";
import {
  buildModel,
  evaluateModel,
  load,
  namedScores,
  readEvaluationData,
  type TaskName,
  trainingConfigSchema,
  trainModel,
} from "../../src/index.js";
import type { Measurement } from "../measurement.js";
import type { Pool } from "./ridge-probe.js";
import { type Mode, pretrained, untrainedEncoder } from "./runs.js";

/** Number of scenes, and side of their images in pixels. */
const SCENES = { training: 480, test: 120, side: 64 };
const SEED = 0;

const bundled = "models/default";
const tasks = ["caption", "vqa"] as const satisfies readonly TaskName[];

const columns = [
  { key: "encoder", title: "encoder" },
  { key: "states", title: "states" },
  { key: "CIDEr", title: "captions: CIDEr", digits: 3 },
  { key: "BLEU-4", title: "BLEU-4", digits: 3 },
  { key: "VQA accuracy", title: "VQA accuracy", digits: 3 },
];

interface Case {
  readonly encoder: string;
  readonly states: Pool;
  /** Writes the encoder, and returns its folder. */
  folder(work: string): Promise<string>;
}

const trained = (mode: Mode) => (work: string) => pretrained(work, { split: "one style per client", mode, seed: SEED });

async function initial(work: string): Promise<string> {
  const folder = join(work, "untrained");
  writeEncoderFolder(folder, untrainedEncoder(SEED));
  return folder;
}

const cases: readonly Case[] = [
  { encoder: "untrained", states: "cls", folder: initial },
  { encoder: "parallel cascade", states: "cls", folder: trained("parallel") },
  { encoder: "parallel cascade", states: "mean", folder: trained("parallel") },
  { encoder: "greedy cascade", states: "cls", folder: trained("greedy") },
  { encoder: "greedy cascade", states: "mean", folder: trained("greedy") },
  { encoder: "full depth", states: "mean", folder: trained("full") },
];

export const fedMaeAdapters: Measurement = {
  summary: "caption and VQA scores of adapters on encoders from fedmae-modes, on drawn scenes",
  async run({ folder: root, say }) {
    const work = join(root, "fedmae");
    await scenes(work);
    const rows = [];
    for (const one of cases) {
      say(`measuring: adapters on ${one.encoder}, ${one.states}`);
      rows.push({ encoder: one.encoder, states: one.states, ...(await scoresOf(work, one)) });
    }
    return [
      {
        title: `an adapter for each task, trained in the same way on ${SCENES.training} scenes; scores on ${SCENES.test} scenes in a style that no client had`,
        columns,
        rows,
        notes: [`decoder of ${bundled}, int8; encoders in fp32, pre-trained with one style per client, seed ${SEED}`],
      },
    ];
  },
};

function sceneFolder(work: string, set: "training" | "test"): string {
  return join(work, `scenes-${set}`);
}

async function scenes(work: string): Promise<void> {
  for (const [set, styles, seed] of [
    ["training", "training", 1_000_000],
    ["test", "held-out style", 10_000_000],
  ] as const) {
    const folder = sceneFolder(work, set);
    // Written last.
    if (existsSync(join(folder, "labels.jsonl"))) continue;
    await writeSceneSet({ folder, count: SCENES[set], side: SCENES.side, styles, seed });
  }
}

const fileOf = { caption: "captions.jsonl", vqa: "questions.jsonl" };

async function scoresOf(work: string, { encoder, states, folder }: Case): Promise<Record<string, number>> {
  const model = join(work, "models", `${encoder} ${states}`.replaceAll(" ", "-"));
  if (!existsSync(model)) {
    const path = await folder(work);
    const precision = "fp32" as const;
    await buildModel({
      output: model,
      encoder: { path, given: path, precision, preprocessing: "source", pooling: states },
      decoder: { path: bundled, given: bundled, precision },
      adapters: [],
    });
  }
  for (const task of tasks) await trainAdapter(model, work, task);
  const opened = await load(model);
  const scores: Record<string, number> = {};
  for (const task of tasks) {
    const { examples } = await readEvaluationData({ path: join(sceneFolder(work, "test"), fileOf[task]) });
    const evaluation = await evaluateModel(opened, examples, { adapter: task, generation: { beams: 1 } });
    Object.assign(scores, namedScores(evaluation.scores));
  }
  await opened.close();
  return scores;
}

/** Trains an adapter that gets the states of all blocks, or resumes; a finished run only reads its checkpoint. */
async function trainAdapter(model: string, work: string, task: (typeof tasks)[number]): Promise<void> {
  await trainModel(
    trainingConfigSchema.parse({
      model,
      output: join(model, "runs", task),
      data: { train: { path: join(sceneFolder(work, "training"), fileOf[task]) } },
      adapter: { name: task, tasks: [task], injectedStates: 3, ...slotLayers },
      optimizer: { learningRate: 2e-3, promptLearningRate: 1e-2, weightDecay: 0, clipNorm: 1 },
      whiten: true,
      loss: { on: task === "caption" ? "text" : "answer", scale: 1 },
      schedule: { warmupEpochs: 0.1 },
      epochs: task === "caption" ? 2 : 1,
      batchSize: 32,
      replace: true,
      calibrate: false,
    }),
  );
}
