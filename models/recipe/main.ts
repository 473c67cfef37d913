import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildPart, type Part, parts } from "./build.js";
import { writeIconFolder } from "./data/images/icon-folders.js";
import { writeSceneSet } from "./data/images/scene-sets.js";
import { HELD_OUT, trainingStyles } from "./data/text/concepts.js";
import { trainLanguageModel } from "./language-model/language-model.js";

/**
 * npm run models:build -- [--work DIR] [--output DIR] [--part NAME ...]
 * npm run models:build -- icons|scenes|language-model --output DIR [options]
 *
 * Rebuilds the bundled model, or makes one thing of its kind elsewhere; all go on where they were stopped.
 */

const usage = `usage: npm run models:build -- [options]

everything that the bundled model is made of, one part after the other:
  --work DIR       folder for all that is made on the way    (default: models/work)
  --output DIR     the model folder                          (default: models/default)
  --part NAME      only this part; may be given again        (${parts.join(", ")})
  --threads N

or one thing for a use of one's own, with --output DIR:
  icons            pictures of single symbols, DIR/STYLE/KIND/NAME.png   [--side N] [--border N]
  scenes           scenes of all concepts: captions, questions, labels             [--count N] [--side N] [--seed N] [--held-out]
  language-model   an OPT of 11 million parameters, trained on texts     [--steps N] [--threads N]`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    work: { type: "string", default: "models/work" },
    output: { type: "string" },
    part: { type: "string", multiple: true, default: [...parts] },
    steps: { type: "string", default: "2400" },
    threads: { type: "string" },
    side: { type: "string", default: "96" },
    border: { type: "string", default: "8" },
    count: { type: "string", default: "1000" },
    seed: { type: "string", default: "0" },
    objects: { type: "string" },
    "held-out": { type: "boolean", default: false },
  },
});

const [what, ...others] = positionals;
const threads = values.threads === undefined ? undefined : Number(values.threads);
if (others.length > 0) fail();
if (what === undefined) await buildAll();
else await makeOne(what, values.output ?? fail());

async function buildAll(): Promise<void> {
  const chosen = values.part.map((name) => parts.find((part): part is Part => part === name) ?? fail());
  const { work, output = "models/default" } = values;
  for (const part of chosen) await buildPart(part, { work, output, threads, say: console.log });
}

async function makeOne(what: string, output: string): Promise<void> {
  switch (what) {
    case "icons":
      for (const style of [HELD_OUT, ...trainingStyles] as const) {
        const size = { side: Number(values.side), border: Number(values.border) };
        console.log(`${style}: ${await writeIconFolder(join(output, style), style, size)} pictures`);
      }
      return;
    case "scenes":
      return writeSceneSet({
        folder: output,
        count: Number(values.count),
        side: Number(values.side),
        seed: Number(values.seed),
        objects: values.objects === undefined ? undefined : Number(values.objects),
        styles: values["held-out"] ? "held-out style" : "training",
        concepts: "all",
        onImage: (done) => done % 1000 === 0 && console.log(`${done} pictures`),
      });
    case "language-model":
      return trainLanguageModel({
        folder: output,
        steps: Number(values.steps),
        threads,
        onStep: (step, loss, milliseconds) =>
          step % 10 === 0 && console.log(`step ${step}  loss ${loss.toFixed(3)}  ${milliseconds.toFixed(0)} ms`),
      });
    default:
      return fail();
  }
}

function fail(): never {
  console.error(usage);
  process.exit(2);
}
