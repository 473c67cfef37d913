import { join } from "node:path";
import { type Modality, type TaskName, type TrainingConfig, trainingConfigSchema } from "../../../src/index.js";
import { setFolder } from "../data/data-sets.js";
import { encoderFolders, modalitiesIn } from "../encoders/backbones.js";
import { adapterSettings } from "./connectors.js";

/** The trained part of the bundled model: an adapter per task and modality. */

export interface AdapterRecipe {
  /** Name in the model folder. */
  readonly name: string;
  readonly task: TaskName;
  readonly modality: Modality;
  readonly epochs: number;
}

export const adapterRecipes: readonly AdapterRecipe[] = [
  { name: "caption", task: "caption", modality: "image", epochs: 15 },
  { name: "vqa", task: "vqa", modality: "image", epochs: 3 },
  // Each audio file has three captions.
  { name: "caption-audio", task: "caption", modality: "audio", epochs: 2 },
  { name: "vqa-audio", task: "vqa", modality: "audio", epochs: 4 },
  { name: "caption-video", task: "caption", modality: "video", epochs: 8 },
  { name: "vqa-video", task: "vqa", modality: "video", epochs: 4 },
];

/** Recipes whose encoder exists in the folder of the build; reports each of those that are left out. */
export function recipesIn(work: string, say: (what: string) => void): AdapterRecipe[] {
  const taken = modalitiesIn(work);
  return adapterRecipes.filter(({ name, modality }) => {
    if (taken.includes(modality)) return true;
    say(`adapter ${name} is left out: ${join(work, encoderFolders[modality])} contains no encoder`);
    return false;
  });
}

/** The adapter from which the training of a modality's adapters starts. */
export function firstAdapterFile(work: string, modality: Modality): string {
  return join(work, "first-adapters", `${modality}.safetensors`);
}

/** Cache of encoder states that all training runs share. */
export function statesFolder(work: string): string {
  return join(work, "states");
}

/** Sets that nothing was trained on, by modality: name of the folder and title in the tables. */
export const testSets: Readonly<Record<Modality, Readonly<Record<string, string>>>> = {
  image: { style: "Scenes in the held-out style", compositions: "Held-out scenes in the other styles" },
  audio: { timbres: "Audio with held-out timbres", combinations: "Audio with held-out combinations" },
  video: { style: "Clips in the held-out style", combinations: "Clips with held-out combinations" },
};

/**
 * Adapters that were trained in the same way but without media. The repository contains them only for the comparison.
 */
export const BASELINE_FOLDER = new URL("../../../../models/text-only-baselines/", import.meta.url).pathname;

/**
 * Share of the epochs for a text-only baseline: without media, only the soft prompt can be learned, and the loss soon
 * stops falling.
 */
const BASELINE_EPOCH_SHARE = 0.1;

/** Name of an adapter's text-only baseline. */
export function textOnlyBaseline({ name }: AdapterRecipe): string {
  return `${name}-blind`;
}

/**
 * The initial adapter of a run. VQA starts from the caption adapter of the same modality, because questions rarely ask
 * for a name.
 */
function beginning(work: string, { task, modality }: AdapterRecipe): string {
  const captions = adapterRecipes.find((one) => one.task === "caption" && one.modality === modality);
  return task === "vqa" && captions ? adapterFile(work, captions.name) : firstAdapterFile(work, modality);
}

/** Path of the adapter that a run has trained. */
export function adapterFile(work: string, run: string): string {
  return join(work, "runs", run, "adapter.safetensors");
}

/** Training config of an adapter in the folder of the build or, if `blind`, of its text-only baseline. */
export function adapterConfig(work: string, recipe: AdapterRecipe, blind: boolean): TrainingConfig {
  const { name, task, modality, epochs } = recipe;
  const lines = (set: string) =>
    join(setFolder(work, modality, set), task === "caption" ? "captions.jsonl" : "questions.jsonl");
  return trainingConfigSchema.parse({
    model: join(work, "model"),
    output: join(work, "runs", blind ? textOnlyBaseline(recipe) : name),
    data: { train: { path: lines("train") }, validation: { path: lines("validation") } },
    keep: "best",
    adapter: {
      name,
      tasks: [task],
      modality,
      ...adapterSettings,
      initial: beginning(work, recipe),
    },
    optimizer: { learningRate: 2e-4, promptLearningRate: 1e-3, weightDecay: 0, clipNorm: 1 },
    whiten: true,
    loss: { on: task === "caption" ? "text" : "answer", scale: 1 },
    schedule: { warmupEpochs: 0.1 },
    epochs: blind ? Math.ceil(epochs * BASELINE_EPOCH_SHARE) : epochs,
    batchSize: 32,
    cache: statesFolder(work),
    install: false,
    // The bundle is calibrated with its encoders in int8.
    calibrate: false,
    blind,
  });
}
