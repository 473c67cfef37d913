import { join } from "node:path";
import { parseArgs } from "node:util";
import { messageOf } from "../../src/core/errors.js";
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

const readArguments = () =>
  parseArgs({
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
      help: { type: "boolean", short: "h" },
    },
  });
type Values = ReturnType<typeof readArguments>["values"];

async function main(): Promise<void> {
  const { values, positionals } = readArguments();
  if (values.help) return console.log(usage);
  const [what, ...others] = positionals;
  if (others.length > 0) fail();
  if (what === undefined) return buildAll(values);
  const { work, modality: modalities, output = "models/default" } = values;
  if (what === "calibrate") return calibrateBundle(output, { work, say: console.log, modalities });
  if (what === "samples") return finishBundle(output, console.log);
  if (what === "retrain") {
    const all = modalitiesOf(readManifest(output));
    const chosen = all.filter((modality) => modalities?.includes(modality) ?? true);
    return retrainBundle(output, chosen, { work, say: console.log });
  }
  await makeOne(what, values.output ?? fail(), values);
}

async function buildAll(values: Values): Promise<void> {
  const chosen = values.part.map((name) => parts.find((part): part is Part => part === name) ?? fail());
  const { work, output = "models/default" } = values;
  const threads = threadsOf(values);
  for (const part of chosen) await buildPart(part, { work, output, threads, say: console.log });
}

async function makeOne(what: string, output: string, values: Values): Promise<void> {
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
        threads: threadsOf(values),
        onStep: (step, loss, milliseconds) =>
          step % 10 === 0 && console.log(`step ${step}  loss ${loss.toFixed(3)}  ${milliseconds.toFixed(0)} ms`),
      });
    default:
      return fail();
  }
}

function threadsOf({ threads }: Values): number | undefined {
  return threads === undefined ? undefined : Number(threads);
}

function fail(): never {
  console.error(usage);
  process.exit(2);
}

try {
  await main();
} catch (error) {
  console.error(`models:build: ${messageOf(error)}`);
  process.exitCode = 1;
}
