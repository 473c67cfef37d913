import { join } from "node:path";
import { parseArgs } from "node:util";
import { HELD_OUT, trainingStyles } from "./concepts.js";
import { writeIconFolder } from "./icon-folders.js";
import { trainLanguageModel } from "./language-model.js";
import { writeSceneSet } from "./scene-sets.js";

/**
 * npm run models:build -- PART --output DIR [options]
 *
 * Rebuilds the bundled model, part by part; every part goes on where it was stopped.
 */

const usage = `usage: npm run models:build -- PART --output DIR [options]

  icons            pictures of single symbols, DIR/STYLE/KIND/NAME.png   [--side N] [--border N]
  scenes           scenes with captions, questions, labels               [--count N] [--side N] [--seed N] [--held-out]
  language-model   an OPT of 11 million parameters, trained on texts     [--steps N] [--threads N]`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    output: { type: "string" },
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

const [part] = positionals;
const { output } = values;
if (output === undefined) fail();
switch (part) {
  case "icons":
    for (const style of [HELD_OUT, ...trainingStyles] as const) {
      const size = { side: Number(values.side), border: Number(values.border) };
      console.log(`${style}: ${await writeIconFolder(join(output, style), style, size)} pictures`);
    }
    break;
  case "scenes":
    await writeSceneSet({
      folder: output,
      count: Number(values.count),
      side: Number(values.side),
      seed: Number(values.seed),
      objects: values.objects === undefined ? undefined : Number(values.objects),
      styles: values["held-out"] ? "held-out style" : "training",
      onPicture(done) {
        if (done % 1000 === 0) console.log(`${done} pictures`);
      },
    });
    break;
  case "language-model":
    await trainLanguageModel({
      folder: output,
      steps: Number(values.steps),
      threads: values.threads === undefined ? undefined : Number(values.threads),
      onStep(step, loss, milliseconds) {
        if (step % 10 === 0)
          console.log(`step ${step}  loss ${loss.toFixed(3)}  ${milliseconds.toFixed(0)} ms`);
      },
    });
    break;
  default:
    fail();
}

function fail(): never {
  console.error(usage);
  process.exit(2);
}
