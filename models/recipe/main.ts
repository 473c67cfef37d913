import { join } from "node:path";
import { parseArgs } from "node:util";
import { modalitiesOf, readManifest } from "../../src/index.js";
import { buildPart, finishBundle, type Part, parts, retrainBundle } from "./build.js";
import { calibrateBundle } from "./calibrate-bundle.js";
import { writeIconFolder } from "./data/images/icon-folders.js";
import { writeSceneSet } from "./data/images/scene-sets.js";
import { HELD_OUT, trainingStyles } from "./data/text/concepts.js";
import { trainLanguageModel } from "./language-model/language-model.js";

/**
 * Builds the bundled model, or makes its icons, scenes or language model in another folder for other uses. Each form
 * resumes where it was interrupted; `usage` lists the options.
 */

const usage = `usage: npm run models:build -- [options]
       npm run models:build -- samples [--output DIR]
       npm run models:build -- calibrate [--output DIR] [--work DIR] [--modality NAME ...]
       npm run models:build -- retrain [--output DIR] [--work DIR] [--modality NAME ...]
       npm run models:build -- icons|scenes|language-model --output DIR [options]

The first form builds the bundled model, one part after the other:
  --work DIR       folder for intermediate results    (default: models/work)
  --output DIR     model folder                       (default: models/default)
  --part NAME      build only this part; repeatable   (default: all)
                   ${parts.join(", ")}
  --threads N      threads of ONNX Runtime

The second form writes descriptions, example questions, samples and the model card of a built model folder again
(default: models/default), without training.

The third form measures familiarity and confidence again and stores them in the adapters of a built model folder.

The fourth form trains the adapters of a built model folder further, on its own backbones, and installs those that
answer better; calibrate afterwards.

The fifth form makes one kind of data, or a language model, for other uses:
  icons            images of single icons, DIR/STYLE/KIND/NAME.png
                   [--side N] [--border N]
  scenes           images of all concepts, with captions, questions and labels
                   [--count N] [--side N] [--seed N] [--objects N] [--held-out]
  language-model   an OPT with 11 million parameters, trained on text only
                   [--steps N] [--threads N]`;

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
    modality: { type: "string", multiple: true },
    "held-out": { type: "boolean", default: false },
  },
});

const [what, ...others] = positionals;
const threads = values.threads === undefined ? undefined : Number(values.threads);
if (others.length > 0) fail();
if (what === undefined) await buildAll();
else if (what === "calibrate") {
  await calibrateBundle(values.output ?? "models/default", {
    work: values.work,
    say: console.log,
    modalities: values.modality,
  });
} else if (what === "retrain") {
  const folder = values.output ?? "models/default";
  const all = modalitiesOf(readManifest(folder));
  const chosen = all.filter((modality) => values.modality?.includes(modality) ?? true);
  await retrainBundle(folder, chosen, { work: values.work, say: console.log });
} else if (what === "samples") await finishBundle(values.output ?? "models/default", console.log);
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
        console.log(`${style}: ${await writeIconFolder(join(output, style), style, size)} images`);
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
        onImage: (done) => done % 1000 === 0 && console.log(`${done} images`),
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
