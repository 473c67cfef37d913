import { join } from "node:path";
import {
  type AdapterSettings,
  type Modality,
  type TaskName,
  type TrainingConfig,
  trainingConfigSchema,
} from "../../../src/index.js";
import { setFolder } from "../data/data-sets.js";
import { encoderFolders, modalitiesIn } from "../encoders/backbones.js";
import { slotLayers } from "../language-model/language-model.js";

/** The trained part of the bundled model: an adapter per task and modality. */

export interface AdapterRecipe {
  /** In the model folder. */
  readonly name: string;
  readonly task: TaskName;
  readonly modality: Modality;
  readonly epochs: number;
}

export const adapterRecipes: readonly AdapterRecipe[] = [
  { name: "caption", task: "caption", modality: "image", epochs: 30 },
  { name: "vqa", task: "vqa", modality: "image", epochs: 6 },
  // Each sound has three captions.
  { name: "caption-audio", task: "caption", modality: "audio", epochs: 2 },
  { name: "vqa-audio", task: "vqa", modality: "audio", epochs: 4 },
  { name: "caption-video", task: "caption", modality: "video", epochs: 8 },
  { name: "vqa-video", task: "vqa", modality: "video", epochs: 4 },
];

/** Those whose encoder is in the folder of the build; which are left out is said. */
export function recipesIn(work: string, say: (what: string) => void): AdapterRecipe[] {
  const taken = modalitiesIn(work);
  return adapterRecipes.filter(({ name, modality }) => {
    if (taken.includes(modality)) return true;
    say(`adapter ${name} is left out: there is no ${join(work, encoderFolders[modality])}`);
    return false;
  });
}

/** The encoders' heads were on the last state: it alone tells what the questions ask. */
export const adapterSettings = {
  injectedStates: 1,
  ...slotLayers,
  perceptionSees: "itself",
  sharedConnector: true,
  promptLength: 1,
  promptForm: "table",
} as const satisfies AdapterSettings;

/** Where the adapters of a modality begin. */
export function firstAdapterFile(work: string, modality: Modality): string {
  return join(work, "first-adapters", `${modality}.safetensors`);
}

/** Of encoder states, for all that is trained on them. */
export function statesFolder(work: string): string {
  return join(work, "states");
}

/** Sets that nothing was trained on, by modality: the folder's name and what the tables call it. */
export const testSets: Readonly<Record<Modality, Readonly<Record<string, string>>>> = {
  image: { style: "Scenes in the held-out style", compositions: "Held-out scenes in the other styles" },
  audio: { timbres: "Sounds in held-out timbres", combinations: "Sounds in held-out combinations" },
  video: { style: "Clips in the held-out style", combinations: "Clips of held-out combinations" },
};

/** Adapters that were trained alike, but without the media; part of the repository, for the comparison alone. */
export const BASELINE_FOLDER = new URL("../../../../models/text-only-baselines/", import.meta.url).pathname;

/** Of the epochs: without media, there is a soft token to learn and no more, and the loss soon stands still. */
const BASELINE_EPOCH_SHARE = 0.1;

/** What the adapter that was trained without media is called. */
export function textOnlyBaseline({ name }: AdapterRecipe): string {
  return `${name}-blind`;
}

/** Answers begin with what captions have learnt of the same media: questions rarely ask for a name. */
function beginning(work: string, { task, modality }: AdapterRecipe): string {
  const captions = adapterRecipes.find((one) => one.task === "caption" && one.modality === modality);
  return task === "vqa" && captions ? adapterFile(work, captions.name) : firstAdapterFile(work, modality);
}

/** What a run has trained. */
export function adapterFile(work: string, run: string): string {
  return join(work, "runs", run, "adapter.safetensors");
}

/** How an adapter, or its text-only baseline, is trained in the folder of the build. */
export function adapterConfig(work: string, recipe: AdapterRecipe, blind: boolean): TrainingConfig {
  const { name, task, modality, epochs } = recipe;
  const set = setFolder(work, modality, "train");
  return trainingConfigSchema.parse({
    model: join(work, "model"),
    output: join(work, "runs", blind ? textOnlyBaseline(recipe) : name),
    data: { train: { path: join(set, task === "caption" ? "captions.jsonl" : "questions.jsonl") } },
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
    blind,
  });
}
