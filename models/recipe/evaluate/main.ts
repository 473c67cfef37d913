import { join } from "node:path";
import { parseArgs } from "node:util";
import { formatTable } from "../../../src/cli/output/output.js";
import { load, modalitiesOf, readAdapter } from "../../../src/index.js";
import { adapterRecipes, BASELINE_FOLDER, testSets, textOnlyBaseline } from "../adapters/adapters.js";
import { makeSet } from "../data/data-sets.js";
import { evaluateSet, type SetScores, textOnlyKinds } from "./evaluate.js";
import type { Share } from "./naming.js";

/**
 * npm run models:eval -- [--model DIR] [--work DIR] [--modality NAME ...] [--limit N] [--neighbours N] [--adapter NAME]
 *
 * Prints the tables of the model card: scores of captions and answers on sets that nothing was trained on, for all
 * modalities of the model or for the given ones. With --adapter, this adapter for images answers instead of the default
 * ones. Sets that do not exist in the folder of the build are made first.
 */

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "models/default" },
    work: { type: "string", default: "models/work" },
    modality: { type: "string", multiple: true },
    limit: { type: "string", default: "1500" },
    neighbours: { type: "string", default: "8000" },
    adapter: { type: "string" },
  },
});

/** Number of concepts about which the language model is asked without an image. */
const TEXT_ONLY = 150;

const percent = ({ right, all }: Share) => `${((100 * right) / Math.max(1, all)).toFixed(1)} %`;

const say = (what: string) => console.error(what);
const model = await load(values.model);
const takenByModel = modalitiesOf(model.manifest);
const asked = values.modality ?? (values.adapter === undefined ? takenByModel : ["image"]);
const taken = takenByModel.filter((modality) => asked.includes(modality));
const refused = values.modality?.find((name) => !taken.some((modality) => modality === name));
if (refused !== undefined) {
  console.error(`--modality: expected one of ${takenByModel.join(", ")}, got '${refused}'`);
  process.exit(2);
}
const recipes = adapterRecipes.filter(({ modality }) => taken.includes(modality));
for (const recipe of recipes) {
  const twin = textOnlyBaseline(recipe);
  await model.useAdapter(twin, await readAdapter(join(BASELINE_FOLDER, `${twin}.safetensors`)), recipe.modality);
}
const known = await textOnlyKinds(model, TEXT_ONLY);
console.log(`language model without images, right kind for ${known.all} concepts: ${percent(known)}\n`);
const make = { work: values.work, say };
for (const modality of new Set(recipes.map((recipe) => recipe.modality))) {
  const training = await makeSet(modality, "train", make);
  for (const [set, title] of Object.entries(testSets[modality])) {
    const scores = await evaluateSet(model, {
      modality,
      set: await makeSet(modality, set, make),
      training,
      limit: Number(values.limit),
      neighbours: Number(values.neighbours),
      adapter: values.adapter,
      say,
    });
    print(title, scores);
  }
}
await model.close();

function print(title: string, { captions, naming, questions }: SetScores): void {
  console.log(title);
  console.log(
    formatTable([
      ["", "model", "text-only baseline", "nearest neighbour"],
      ["CIDEr", ...[captions.model, captions.baseline, captions.nearest].map((value) => value.toFixed(3))],
      ...(naming
        ? [
            ["name", percent(naming.name), "", `${naming.name.all} images`],
            ["name and number", percent(naming.nameAndNumber), "", ""],
          ]
        : []),
    ]),
  );
  console.log(
    `\n${formatTable([
      ["question", "model", "text-only baseline", "majority answer", "questions"],
      ...Array.from(questions, ([type, shares]) => [
        type,
        percent(shares.model),
        percent(shares.baseline),
        percent(shares["majority answer"]),
        String(shares.model.all),
      ]),
    ])}\n`,
  );
}
