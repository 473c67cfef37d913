import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { writeAtomically } from "../../../src/core/files/atomic-write.js";
import { randomStreams, shuffled } from "../../../src/core/random.js";
import {
  BUNDLED_MODEL,
  evaluateModel,
  load,
  namedScores,
  readEvaluationData,
  trainingConfigSchema,
  trainModel,
} from "../../../src/index.js";
import { type ConnectorRecipe, connectorRecipes } from "../adapters/connectors.js";
import { makeTrainableModel } from "../adapters/trainable-model.js";
import { installAdapters } from "../build.js";
import { SIDE, sceneSets } from "../data/data-sets.js";
import { writeSceneSet } from "../data/images/scene-sets.js";

/**
 * Compares the connectors on the scenes of the bundled model: the same data, encoder and language model, and the same
 * time of training for each. Every finished run adds a line to `WORK/connectors/rows.jsonl`; an interrupted comparison
 * resumes.
 */

const usage = `usage: npm run models:connectors -- [options]

  --work DIR          folder of intermediate results                    (default: models/work)
  --model DIR         model folder with the encoder and language model  (default: the bundled model)
  --minutes N         training of each run: processor time on all cores, divided by their number  (default: 10)
  --seeds N,N,…       seeds of the initial weights and of the data      (default: 0)
  --connector NAME    only this connector; repeatable                   (default: all)
                      ${connectorRecipes.map(({ name }) => name).join(", ")}
  --scenes N          training scenes                                   (default: 8000)
  --examples N        captions, and twice as many questions, of each evaluation  (default: 500)
  --install NAME      then adds the adapter of this connector and the first seed to the model folder, named like it`;

const BATCH = 32;

/** Steps of the pilot run that measures the duration of a step; those before are slower. */
const PILOT_STEPS = 12;
const WARM_UP_STEPS = 4;

/** Questions whose answers are timed, one at a time in one thread. */
const TIMED = 50;

const { values } = parseArgs({
  options: {
    work: { type: "string", default: "models/work" },
    model: { type: "string", default: BUNDLED_MODEL },
    minutes: { type: "string", default: "10" },
    seeds: { type: "string", default: "0" },
    connector: { type: "string", multiple: true, default: connectorRecipes.map(({ name }) => name) },
    scenes: { type: "string", default: "8000" },
    examples: { type: "string", default: "500" },
    install: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
const work = join(values.work, "connectors");
const [minutes, scenes, examples] = [values.minutes, values.scenes, values.examples].map(positive) as [
  number,
  number,
  number,
];
const seeds = values.seeds.split(",").map(Number);
if (values.help || !seeds.every((seed) => Number.isInteger(seed) && seed >= 0)) fail();
const chosen = values.connector.map((name) => connectorRecipes.find((recipe) => recipe.name === name) ?? fail());

/** One finished run. */
const rowSchema = z.strictObject({
  connector: z.string(),
  seed: z.number(),
  minutes: z.number(),
  scenes: z.number(),
  steps: z.number(),
  /** Trained parameters. */
  parameters: z.number(),
  cider: z.number(),
  /** VQA accuracy, 0 to 1. */
  vqa: z.number(),
  /** Processor time per answer. */
  milliseconds: z.number(),
});
type Row = z.infer<typeof rowSchema>;

const rowsFile = join(work, "rows.jsonl");
mkdirSync(work, { recursive: true });
const model = join(work, "model");
await makeTrainableModel(values.model, { output: model, modality: "image", say: console.log });
const training = await sceneFolder("train", scenes);
const testing = await sceneFolder("compositions", examples);
for (const seed of seeds) {
  for (const recipe of chosen) {
    if (rows().some((row) => row.connector === recipe.name && row.seed === seed)) continue;
    const row = await compare(recipe, seed);
    appendFileSync(rowsFile, `${JSON.stringify(row)}\n`);
    console.log(JSON.stringify(row));
  }
}
console.log(`\n${table(rows())}`);
if (values.install !== undefined) await install(values.install);

async function install(name: string): Promise<void> {
  if (!chosen.some((recipe) => recipe.name === name && recipe.settings.connector)) fail();
  const path = join(work, "runs", runName(name, seeds[0] ?? 0), "adapter.safetensors");
  const added = { name, path, tasks: ["caption", "vqa"], modality: "image" } as const;
  await installAdapters(values.model, [added], { work: values.work, say: console.log });
}

function runName(connector: string, seed: number): string {
  return `${connector}-${minutes}-${scenes}-${seed}`;
}

function positive(text: string): number {
  const number = Number(text);
  return number > 0 ? number : fail();
}

function fail(): never {
  console.error(usage);
  process.exit(2);
}

/** The finished runs with this duration and these data. */
function rows(): Row[] {
  const lines = existsSync(rowsFile) ? readFileSync(rowsFile, "utf8").split("\n").filter(Boolean) : [];
  return lines
    .map((line) => rowSchema.parse(JSON.parse(line)))
    .filter((row) => row.minutes === minutes && row.scenes === scenes);
}

async function sceneFolder(set: "train" | "compositions", count: number): Promise<string> {
  const folder = join(work, "scenes", `${set}-${count}`);
  if (!existsSync(join(folder, "labels.jsonl"))) {
    console.log(`${folder}: drawing ${count} scenes`);
    await writeSceneSet({ ...sceneSets[set], folder, count, side: SIDE });
  }
  return folder;
}

async function compare(recipe: ConnectorRecipe, seed: number): Promise<Row> {
  const steps = Math.max(1, Math.round((minutes * 60_000) / (await stepDuration(recipe))));
  const name = runName(recipe.name, seed);
  console.log(`${name}: training for ${steps} steps`);
  const { adapter } = await train(recipe, { name, seed, steps });
  const sum = Array.from(adapter.tensors.values(), ({ data }) => data.length).reduce((a, b) => a + b, 0);
  const opened = await load(model, { threads: 1, checksums: false });
  try {
    await opened.useAdapter(name, adapter);
    const captions = await readEvaluationData({ path: join(testing, "captions.jsonl") }, { limit: examples });
    const questions = await readEvaluationData({ path: join(testing, "questions.jsonl") }, { limit: 2 * examples });
    const { scores } = await evaluateModel(opened, [...captions.examples, ...questions.examples], { adapter: name });
    const timed = questions.examples.slice(0, TIMED);
    const before = process.cpuUsage();
    await evaluateModel(opened, timed, { adapter: name, concurrency: 1 });
    const { user, system } = process.cpuUsage(before);
    const { CIDEr = 0, "VQA accuracy": vqa = 0 } = namedScores(scores);
    const milliseconds = (user + system) / 1000 / timed.length;
    return { connector: recipe.name, seed, minutes, scenes, steps, parameters: sum, cider: CIDEr, vqa, milliseconds };
  } finally {
    await opened.close();
  }
}

/**
 * Processor time of one training step in milliseconds, divided by the number of cores. It is measured once per
 * connector and kept, so that all seeds and a resumed comparison have the same number of steps.
 */
async function stepDuration(recipe: ConnectorRecipe): Promise<number> {
  const file = join(work, "pilots", `${recipe.name}.json`);
  if (existsSync(file))
    return z
      .number()
      .positive()
      .parse(JSON.parse(readFileSync(file, "utf8")));
  let start = process.cpuUsage();
  let spent = 0;
  await train(recipe, { name: `pilot-${recipe.name}`, seed: 0, steps: PILOT_STEPS }, (step) => {
    if (step === WARM_UP_STEPS) start = process.cpuUsage();
    const { user, system } = process.cpuUsage(start);
    if (step === PILOT_STEPS) spent = (user + system) / 1000;
  });
  const duration = spent / (PILOT_STEPS - WARM_UP_STEPS) / availableParallelism();
  mkdirSync(join(work, "pilots"), { recursive: true });
  writeAtomically(file, JSON.stringify(duration));
  return duration;
}

interface TrainingRun {
  readonly name: string;
  readonly seed: number;
  readonly steps: number;
}

function train(recipe: ConnectorRecipe, { name, seed, steps }: TrainingRun, onStep?: (step: number) => void) {
  const output = join(work, "runs", name);
  mkdirSync(output, { recursive: true });
  // Beside the images, to which its paths are relative.
  const lines = join(training, `${name}.jsonl`);
  if (!existsSync(lines)) writeFileSync(lines, trainingLines(steps * BATCH, seed));
  const config = trainingConfigSchema.parse({
    model,
    output,
    data: { train: { path: lines } },
    adapter: { name, tasks: ["caption", "vqa"], modality: "image", ...recipe.settings },
    optimizer: { learningRate: recipe.learningRate, promptLearningRate: 1e-3, weightDecay: 0, clipNorm: 1 },
    whiten: recipe.whiten,
    // A caption follows the start token alone, so that all of it is the answer.
    loss: { on: "answer", scale: 1 },
    schedule: { warmupEpochs: 0.05, startShare: 0.1 },
    epochs: 1,
    batchSize: BATCH,
    seed,
    cache: join(work, "states"),
    install: false,
    calibrate: false,
  });
  return trainModel(config, {
    onStep: ({ step, tokenLoss }) => {
      onStep?.(step);
      if (step % 100 === 0) console.log(`${name}: step ${step} of ${steps}: loss ${tokenLoss.toFixed(3)}`);
    },
  });
}

/** Captions and questions in equal parts, in random order; they repeat if a run is long. */
function trainingLines(count: number, seed: number): string {
  const [random = Math.random] = randomStreams(seed, 1);
  const [captions, questions] = ["captions", "questions"].map((file) =>
    readFileSync(join(training, `${file}.jsonl`), "utf8")
      .trim()
      .split("\n"),
  ) as [string[], string[]];
  const drawn = (lines: readonly string[]) => {
    const order: string[] = [];
    while (order.length < count / 2) order.push(...shuffled(lines, random));
    return order.slice(0, Math.ceil(count / 2));
  };
  const all = shuffled([...drawn(captions), ...drawn(questions)], random).slice(0, count);
  return `${all.join("\n")}\n`;
}

/** One row per connector, best CIDEr first; scores are means over the seeds, with the smallest and the largest. */
function table(all: readonly Row[]): string {
  const names = Array.from(new Set(all.map(({ connector }) => connector)));
  const spread = (numbers: readonly number[], factor: number, digits: number) => {
    const mean = numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
    const text = (number: number) => (factor * number).toFixed(digits);
    const range = `${text(Math.min(...numbers))} to ${text(Math.max(...numbers))}`;
    return { mean, text: numbers.length === 1 ? text(mean) : `${text(mean)} (${range})` };
  };
  const lines = names.map((name) => {
    const own = all.filter(({ connector }) => connector === name);
    const cider = spread(
      own.map((row) => row.cider),
      100,
      1,
    );
    const [vqa, milliseconds] = [
      spread(
        own.map((row) => row.vqa),
        100,
        1,
      ),
      spread(
        own.map((row) => row.milliseconds),
        1,
        0,
      ),
    ];
    const [first] = own;
    const cells = [name, cider.text, vqa.text, first?.parameters, first?.steps, milliseconds.text, own.length];
    return { cider: cider.mean, line: `| ${cells.join(" | ")} |` };
  });
  return [
    `${minutes} minutes of training each, ${scenes} scenes`,
    "",
    "| connector | CIDEr | VQA accuracy, % | trained parameters | steps | ms per answer | seeds |",
    "| --- | --- | --- | --- | --- | --- | --- |",
    ...lines.toSorted((a, b) => b.cider - a.cider).map(({ line }) => line),
  ].join("\n");
}
