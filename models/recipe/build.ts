import { appendFileSync, cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fedMaeConfigSchema, pretrain } from "../../src/fedmae.js";
import {
  type AdapterOptions,
  buildModel,
  encoderOf,
  type Modality,
  modalitiesOf,
  readManifest,
  trainModel,
} from "../../src/index.js";
import { loadTokenizer } from "../../src/tokenizer/tokenizer.js";
import {
  adapterConfig,
  adapterFile,
  BASELINE_FOLDER,
  firstAdapterFile,
  recipesIn,
  statesFolder,
  textOnlyBaseline,
} from "./adapters/adapters.js";
import { adapterSettings } from "./adapters/connectors.js";
import { writeFirstAdapter } from "./adapters/first-adapter.js";
import { retrainAdapters } from "./adapters/retrain.js";
import { calibrateBundle } from "./calibrate-bundle.js";
import { chooseSamples, modelCard } from "./choose-samples.js";
import { type MakeOptions, makeSets, SIDE, setFolder } from "./data/data-sets.js";
import { writeIconFolder } from "./data/images/icon-folders.js";
import { trainingStyles } from "./data/text/concepts.js";
import { describeModel } from "./describe-model.js";
import { trainAudioEncoder } from "./encoders/audio-encoder.js";
import { backbonesIn, encoderFolders, LANGUAGE_MODEL, stateLicences, takesAllOf } from "./encoders/backbones.js";
import { trainClipEncoder } from "./encoders/clip-encoder.js";
import { trainImageEncoder, trainOutputBlock } from "./encoders/image-encoder.js";
import type { SceneEncoderHooks } from "./encoders/train-scene-encoder.js";
import { ConditioningTables } from "./language-model/conditioning-tables.js";
import { trainLanguageModel } from "./language-model/language-model.js";

/** Training steps of the language model. */
const LANGUAGE_STEPS = 4600;

/** Training steps of the image encoder. */
const IMAGE_STEPS = 18_000;

/** Training steps of the image encoder's output block. */
const OUTPUT_BLOCK_STEPS = 650;

/** Folder of the image encoder without its output block, from which the clip encoder starts as well. */
const ENCODER_WITHOUT_OUTPUT_BLOCK = "encoder-without-readout";

/** Steps that the encoder of sounds is trained for. */
const AUDIO_STEPS = 2000;

/** Training steps of the clip encoder. */
const CLIP_STEPS = 1400;

/** The parts of the build in order; a part uses the results of those before it. */
export const parts = [
  "icons",
  "scenes",
  "language-model",
  "pretrain",
  "encoder",
  "sounds",
  "sound-encoder",
  "clips",
  "clip-encoder",
  "model",
  "adapters",
  "bundle",
] as const;
export type Part = (typeof parts)[number];

export interface BuildAllOptions extends MakeOptions {
  /** Folder of the bundled model; an existing folder is replaced. */
  readonly output: string;
  readonly threads?: number | undefined;
}

/**
 * Builds one part of the bundled model from the parts before it. An interrupted part resumes where it stopped, and a
 * finished part is not repeated, except for `bundle`, which is always built again. Appends the duration in minutes to
 * `WORK/times.jsonl`.
 */
export async function buildPart(part: Part, options: BuildAllOptions): Promise<void> {
  const started = Date.now();
  mkdirSync(options.work, { recursive: true });
  await makers[part](options);
  const minutes = (Date.now() - started) / 60_000;
  options.say(`${part}: ${minutes.toFixed(1)} minutes`);
  appendFileSync(join(options.work, "times.jsonl"), `${JSON.stringify({ part, minutes })}\n`);
}

const makers: Readonly<Record<Part, (options: BuildAllOptions) => Promise<void>>> = {
  icons: drawIcons,
  scenes: (options) => makeSets("image", options),
  "language-model": makeLanguageModel,
  pretrain: pretrainEncoder,
  encoder: makeImageEncoder,
  sounds: (options) => makeSets("audio", options),
  "sound-encoder": makeAudioEncoder,
  clips: (options) => makeSets("video", options),
  "clip-encoder": makeClipEncoder,
  model: joinBackbones,
  adapters: trainAdapters,
  bundle: bundleModel,
};

async function drawIcons({ work, say }: BuildAllOptions): Promise<void> {
  for (const style of trainingStyles) {
    const count = await writeIconFolder(join(work, "icons", style), style, { side: 80, border: 8 });
    say(`${style}: ${count} images`);
  }
}

async function makeLanguageModel({ work, threads, say }: BuildAllOptions): Promise<void> {
  await trainLanguageModel({
    folder: join(work, LANGUAGE_MODEL),
    steps: LANGUAGE_STEPS,
    threads,
    onStep: (step, loss) => step % 50 === 0 && say(`step ${step} of ${LANGUAGE_STEPS}: loss ${loss.toFixed(3)}`),
  });
}

/** Pretrains the image encoder with FedMAE; each training style is one client. */
async function pretrainEncoder({ work, say }: BuildAllOptions): Promise<void> {
  const config = fedMaeConfigSchema.parse({
    output: join(work, "mae"),
    clients: trainingStyles.map((name) => ({ name, path: join(work, "icons", name) })),
    model: { imageSize: SIDE, patchSize: 16, width: 192, heads: 6, decoderWidth: 96, decoderHeads: 3 },
    mode: "greedy",
    depth: 6,
    rounds: 3,
    optimizer: { learningRate: 1.5e-3, warmupRounds: 1 },
    leastArea: 0.4,
    compare: false,
  });
  await pretrain(config, {
    onRound({ round, clients }) {
      const losses = clients.flatMap((client) => (client.kind === "answered" ? [client.loss] : []));
      const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
      say(`round ${round}: loss ${mean.toFixed(4)}`);
    },
  });
}

/** Trains the image encoder to classify the objects of scenes and their places, then its output block. */
async function makeImageEncoder({ work, threads, say }: BuildAllOptions): Promise<void> {
  const labels = (set: string) => join(setFolder(work, "image", set), "labels.jsonl");
  const tests = { style: labels("style"), compositions: labels("compositions") };
  await trainImageEncoder(
    {
      output: join(work, ENCODER_WITHOUT_OUTPUT_BLOCK),
      from: join(work, "mae", "mae"),
      scenes: { count: 60_000, seed: 60_000_000 },
      tests,
      steps: IMAGE_STEPS,
      batchSize: 32,
      testEvery: 1000,
      threads,
    },
    hooksOf("encoder", IMAGE_STEPS, say),
  );
  const languageModel = join(work, LANGUAGE_MODEL);
  await trainOutputBlock(
    {
      output: join(work, encoderFolders.image),
      from: join(work, ENCODER_WITHOUT_OUTPUT_BLOCK),
      tables: ConditioningTables.read(languageModel, loadTokenizer(languageModel)),
      scenes: { count: 90_000, seed: 156_000_000 },
      tests,
      steps: OUTPUT_BLOCK_STEPS,
      batchSize: 256,
      testEvery: 200,
      threads,
    },
    hooksOf("output block", OUTPUT_BLOCK_STEPS, say),
  );
}

function hooksOf(name: string, steps: number, say: BuildAllOptions["say"]): SceneEncoderHooks {
  return {
    onStep: (step, loss, milliseconds) =>
      step % 50 === 0 &&
      say(`${name}: step ${step} of ${steps}: loss ${loss.toFixed(3)}, ${milliseconds.toFixed(0)} ms`),
    onTest: (step, test, accuracies) => say(`${name}: step ${step}, ${test}: ${JSON.stringify(accuracies)}`),
  };
}

/** Trains the audio encoder to classify the events of audio scenes and their order. */
async function makeAudioEncoder({ work, threads, say }: BuildAllOptions): Promise<void> {
  const set = (name: string) => setFolder(work, "audio", name);
  await trainAudioEncoder(
    {
      output: join(work, encoderFolders.audio),
      training: set("train"),
      tests: { timbres: set("timbres"), combinations: set("combinations") },
      features: join(work, "sound-features"),
      steps: AUDIO_STEPS,
      batchSize: 32,
      testEvery: 500,
      threads,
    },
    hooksOf("sound-encoder", AUDIO_STEPS, say),
  );
}

/** Trains the clip encoder to classify the objects of clips and their actions. */
async function makeClipEncoder({ work, threads, say }: BuildAllOptions): Promise<void> {
  const set = (name: string) => setFolder(work, "video", name);
  await trainClipEncoder(
    {
      output: join(work, encoderFolders.video),
      from: join(work, ENCODER_WITHOUT_OUTPUT_BLOCK),
      clips: { count: 60_000, seed: 100_000_000 },
      tests: { style: set("style"), combinations: set("combinations") },
      steps: CLIP_STEPS,
      batchSize: 16,
      testEvery: 200,
      threads,
    },
    hooksOf("clip-encoder", CLIP_STEPS, say),
  );
}

/**
 * Builds the model folder of frozen backbones on which the adapters are trained. Rebuilds an existing folder only if
 * its modalities differ from those of the available encoders.
 */
async function joinBackbones({ work, say }: BuildAllOptions): Promise<void> {
  const output = join(work, "model");
  if (existsSync(output) && (await takesAllOf(work, output))) return;
  rmSync(output, { recursive: true, force: true });
  stateLicences(work);
  await buildModel({ ...backbonesIn(work, "fp32"), output, adapters: [], onStage: say });
}

/** Trains each adapter and its text-only baseline, which shows what the media contribute. */
async function trainAdapters({ work, say }: BuildAllOptions): Promise<void> {
  const recipes = recipesIn(work, say);
  for (const modality of new Set(recipes.map((recipe) => recipe.modality))) {
    const output = firstAdapterFile(work, modality);
    if (existsSync(output)) continue;
    await writeFirstAdapter({
      model: join(work, "model"),
      languageModel: join(work, LANGUAGE_MODEL),
      set: setFolder(work, modality, "train"),
      modality,
      settings: adapterSettings,
      cache: statesFolder(work),
      output,
    });
    say(`first adapter: ${output}`);
  }
  for (const recipe of recipes) {
    for (const blind of [false, true]) {
      const name = blind ? textOnlyBaseline(recipe) : recipe.name;
      const { scores, adapterFile } = await trainModel(adapterConfig(work, recipe, blind), {
        onPlan: (plan) =>
          say(
            `${name}: training ${plan.trainedParameters} parameters (${(100 * plan.trainedShare).toFixed(2)} %), ${plan.frozenParameters} are frozen`,
          ),
        onStep: ({ step, steps, tokenLoss }) =>
          step % 100 === 0 && say(`${name}: step ${step} of ${steps}: loss ${tokenLoss.toFixed(3)}`),
      });
      say(`${name}: ${JSON.stringify(scores)}, ${adapterFile}`);
    }
  }
}

/** Adds the descriptions, the samples and the model card to a built folder, which may have some from before. */
export async function finishBundle(folder: string, say: (what: string) => void): Promise<void> {
  describeModel(folder);
  const table = await chooseSamples(folder, say);
  writeFileSync(join(folder, "README.md"), modelCard(table));
}

/**
 * Builds the model folder that `npm start` serves, with int8 backbones, adapters, samples and model card, and copies
 * the text-only baselines into the repository.
 */
async function bundleModel({ work, output, say }: BuildAllOptions): Promise<void> {
  const folder = join(work, "bundle", basename(output));
  const recipes = recipesIn(work, say);
  rmSync(folder, { recursive: true, force: true });
  stateLicences(work);
  await buildModel({
    ...backbonesIn(work, "int8"),
    output: folder,
    adapters: recipes.map(({ name, task, modality }) => ({
      name,
      tasks: [task],
      modality,
      path: adapterFile(work, name),
    })),
    onStage: say,
  });
  await calibrateBundle(folder, { work, say });
  await finishBundle(folder, say);
  replaceFolder(output, folder);
  mkdirSync(BASELINE_FOLDER, { recursive: true });
  for (const recipe of recipes) {
    const name = textOnlyBaseline(recipe);
    cpSync(adapterFile(work, name), join(BASELINE_FOLDER, `${name}.safetensors`));
  }
}

/**
 * Trains the adapters of a bundled model further and installs those that answer better, with the same backbones. They
 * are then without a calibration.
 */
export async function retrainBundle(model: string, modalities: readonly Modality[], options: MakeOptions) {
  for (const modality of modalities) {
    const better = await retrainAdapters(model, modality, options);
    const adapters = better.map(({ recipe: { name, task }, path }) => ({ name, path, tasks: [task], modality }));
    if (adapters.length > 0) await installAdapters(model, adapters, options);
  }
}

/**
 * Builds a bundled model again from its own files, with further adapters or in place of those with the same names. If
 * one takes visual tokens, the decoder then does so, too; the weights of the backbones stay the same, bit for bit.
 */
export async function installAdapters(
  model: string,
  added: readonly AdapterOptions[],
  { work, say }: MakeOptions,
): Promise<void> {
  const manifest = readManifest(model);
  const folder = join(work, "bundle", basename(model));
  const source = { path: model, given: model };
  const encoder = (modality: Modality) => ({
    ...source,
    modality,
    precision: encoderOf(manifest, modality).precision,
    preprocessing: "source" as const,
  });
  const [first = "image", ...others] = modalitiesOf(manifest);
  const given = new Map(added.map((adapter) => [adapter.name, adapter]));
  const kept = Object.entries(manifest.adapters).map(([name, { file, tasks, modality }]): AdapterOptions => {
    const replacement = given.get(name);
    given.delete(name);
    return replacement ?? { name, path: join(model, file), tasks, modality };
  });
  rmSync(folder, { recursive: true, force: true });
  await buildModel({
    output: folder,
    name: manifest.name,
    encoder: encoder(first),
    otherEncoders: others.map(encoder),
    decoder: { ...source, precision: manifest.decoder.precision },
    // In the order of before, because the first adapter of a task is its default.
    adapters: [...kept, ...given.values()],
    onStage: say,
  });
  await finishBundle(folder, say);
  replaceFolder(model, folder);
}

function replaceFolder(folder: string, other: string): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(dirname(folder), { recursive: true });
  cpSync(other, folder, { recursive: true });
}
