import { join } from "node:path";
import { parseArgs } from "node:util";
import { formatTable } from "../../src/cli/output.js";
import { load, readAdapter } from "../../src/index.js";
import { drawSceneSet } from "./build-all.js";
import { blindTwin, evaluateSet, type Share, textOnlyKinds } from "./evaluate.js";
import { BLIND_FOLDER, tasks } from "./tasks.js";

/**
 * npm run models:eval -- [--model DIR] [--work DIR] [--limit N]
 *
 * Prints the card's tables: captions and answers on sets of scenes that nothing was trained on. Sets that are not in
 * the folder of the build are drawn first.
 */

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "models/default" },
    work: { type: "string", default: "models/work" },
    limit: { type: "string", default: "1500" },
    neighbours: { type: "string", default: "8000" },
  },
});

/** By the name of the set. */
const titles = { style: "Scenes in the held-out style", compositions: "Held-out scenes in the other styles" };

/** Concepts that the language model is asked about without a picture. */
const TEXT_ONLY = 150;

const percent = ({ right, all }: Share) => `${((100 * right) / Math.max(1, all)).toFixed(1)} %`;

const say = (what: string) => console.error(what);
const model = await load(values.model);
for (const task of tasks) {
  await model.useAdapter(blindTwin(task), await readAdapter(join(BLIND_FOLDER, `${task}.safetensors`)));
}
const training = await drawSceneSet("train", { work: values.work, say });
const known = await textOnlyKinds(model, TEXT_ONLY);
console.log(`language model alone, kind of ${known.all} things: ${percent(known)}\n`);
for (const [set, title] of Object.entries(titles)) {
  const scores = await evaluateSet(model, {
    set: await drawSceneSet(set, { work: values.work, say }),
    training,
    limit: Number(values.limit),
    neighbours: Number(values.neighbours),
    say,
  });
  const { captions, naming, questions } = scores;
  console.log(title);
  console.log(
    formatTable([
      ["", "model", "blind", "nearest neighbour"],
      ["CIDEr", ...[captions.model, captions.blind, captions.nearest].map((value) => value.toFixed(3))],
      ["naming", percent(naming), "", "", `${naming.all} pictures`],
    ]),
  );
  console.log(
    `\n${formatTable([
      ["question", "model", "blind", "majority answer", "questions"],
      ...Array.from(questions, ([type, shares]) => [
        type,
        percent(shares.model),
        percent(shares.blind),
        percent(shares["majority answer"]),
        String(shares.model.all),
      ]),
    ])}\n`,
  );
}
await model.close();
