import { parseArgs } from "node:util";
import { trainLanguageModel } from "./language-model.js";

/**
 * npm run models:build -- language-model --output DIR [--steps N] [--threads N]
 *
 * Rebuilds the bundled model, part by part; every part goes on where it was stopped.
 */

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    output: { type: "string" },
    steps: { type: "string", default: "4000" },
    threads: { type: "string" },
  },
});

const [part] = positionals;
if (part !== "language-model" || values.output === undefined) {
  console.error("usage: npm run models:build -- language-model --output DIR [--steps N] [--threads N]");
  process.exit(2);
}
await trainLanguageModel({
  folder: values.output,
  steps: Number(values.steps),
  threads: values.threads === undefined ? undefined : Number(values.threads),
  onStep(step, loss, milliseconds) {
    if (step % 10 === 0) console.log(`step ${step}  loss ${loss.toFixed(3)}  ${milliseconds.toFixed(0)} ms`);
  },
});
