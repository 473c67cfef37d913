import { join } from "node:path";
import {
  evaluateModel,
  load,
  type Modality,
  namedScores,
  readAdapter,
  readEvaluationData,
  readManifest,
  trainModel,
} from "../../../src/index.js";
import { type MakeOptions, makeSet, setFolder } from "../data/data-sets.js";
import { type AdapterRecipe, adapterConfig, adapterRecipes } from "./adapters.js";
import { makeTrainableModel } from "./trainable-model.js";

/** Share of a recipe's epochs that an adapter is trained for again. */
const EPOCH_SHARE = 0.2;

/** An adapter that answers better than the installed one. */
export interface Retrained {
  readonly recipe: AdapterRecipe;
  readonly path: string;
}

/**
 * Trains the adapters of a built model folder further, on its own backbones as they are stored, and keeps the epoch
 * with the best score on the set `validation`. Returns those whose score is better than that of the installed adapter.
 * An interrupted run resumes.
 */
export async function retrainAdapters(
  model: string,
  modality: Modality,
  { work, say }: MakeOptions,
): Promise<readonly Retrained[]> {
  for (const set of ["train", "validation"]) await makeSet(modality, set, { work, say });
  const trainable = join(work, "retrain", `model-${modality}`);
  await makeTrainableModel(model, { output: trainable, modality, say });
  const better: Retrained[] = [];
  for (const recipe of adapterRecipes.filter((one) => one.modality === modality)) {
    const { name, epochs } = recipe;
    const installed = join(model, readManifest(model).adapters[name]?.file ?? "");
    const config = adapterConfig(work, recipe, false);
    const { adapterFile } = await trainModel(
      {
        ...config,
        model: trainable,
        output: join(work, "retrain", name),
        adapter: { ...config.adapter, initial: installed },
        epochs: Math.ceil(epochs * EPOCH_SHARE),
      },
      {
        onStep: ({ step, steps, tokenLoss }) =>
          step % 100 === 0 && say(`${name}: step ${step} of ${steps}: loss ${tokenLoss.toFixed(3)}`),
        onEpoch: (epoch, scores) => say(`${name}: epoch ${epoch}: ${JSON.stringify(scores)}`),
      },
    );
    const [before, after] = await validationScores(trainable, recipe, { work, files: [installed, adapterFile] });
    say(`${name}: ${before.toFixed(4)} before, ${after.toFixed(4)} after`);
    if (after > before) better.push({ recipe, path: adapterFile });
  }
  return better;
}

/** CIDEr or VQA accuracy of two adapters on the validation set, which follows that of the training runs. */
async function validationScores(
  trainable: string,
  { task, modality }: AdapterRecipe,
  { work, files }: { work: string; files: readonly [string, string] },
): Promise<[number, number]> {
  const path = join(setFolder(work, modality, "validation"), task === "caption" ? "captions.jsonl" : "questions.jsonl");
  const { examples } = await readEvaluationData({ path });
  const model = await load(trainable);
  const scoreOf = async (file: string) => {
    await model.useAdapter(file, await readAdapter(file), modality);
    const scores = namedScores((await evaluateModel(model, examples, { adapter: file })).scores);
    return scores[task === "caption" ? "CIDEr" : "VQA accuracy"] ?? 0;
  };
  try {
    return [await scoreOf(files[0]), await scoreOf(files[1])];
  } finally {
    await model.close();
  }
}
