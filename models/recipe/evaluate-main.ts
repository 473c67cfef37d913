import { parseArgs } from "node:util";
import { formatTable } from "../../src/cli/output.js";
import { load } from "../../src/index.js";
import { evaluateSet, type Share, textOnlyKinds } from "./evaluate.js";

/**
 * npm run models:eval -- --model DIR --training DIR --set NAME=DIR [--set ...] [--limit N]
 *
 * Prints the card's tables: captions and answers on sets of scenes that nothing was trained on.
 */

const { values } = parseArgs({
  options: {
    model: { type: "string" },
    training: { type: "string" },
    set: { type: "string", multiple: true, default: [] },
    limit: { type: "string", default: "1000" },
    neighbours: { type: "string", default: "8000" },
  },
});

const { model: path, training } = values;
if (path === undefined || training === undefined || values.set.length === 0) {
  console.error(
    "usage: npm run models:eval -- --model DIR --training DIR --set NAME=DIR [--set ...] [--limit N]",
  );
  process.exit(2);
}

/** Concepts that the language model is asked about without a picture. */
const TEXT_ONLY = 150;

const percent = ({ right, all }: Share) => `${((100 * right) / Math.max(1, all)).toFixed(1)} %`;

const model = await load(path);
const known = await textOnlyKinds(model, TEXT_ONLY);
console.log(`language model alone, kind of ${known.all} things: ${percent(known)}\n`);
for (const given of values.set) {
  const [name = "", folder = ""] = given.split("=");
  const scores = await evaluateSet(model, {
    set: folder,
    training,
    limit: Number(values.limit),
    neighbours: Number(values.neighbours),
    say: (what) => console.error(what),
  });
  const { captions, naming, questions } = scores;
  console.log(name);
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
