// Trains an adapter and uses it: node train-adapter.js CAPTIONS.jsonl OUTPUT
// CAPTIONS.jsonl has lines such as {"image": "a.jpg", "caption": "…"}, with paths relative to the file.
import { join, resolve } from "node:path";
import { BUNDLED_MODEL, load, readAdapter, trainingConfigSchema, trainModel } from "epalm";

const [captions, output] = process.argv.slice(2);
if (captions === undefined || output === undefined) {
  console.error("usage: node train-adapter.js CAPTIONS.jsonl OUTPUT");
  process.exit(2);
}

// The schema checks the values and adds the defaults; docs/training.md describes every key.
const config = trainingConfigSchema.parse({
  model: BUNDLED_MODEL,
  output: resolve(output),
  data: { train: { path: resolve(captions) } },
  // Continues with the bundled adapter. Its settings must be given again: one state, layers 2 to 6, one soft token.
  adapter: {
    name: "example",
    tasks: ["caption"],
    modality: "image",
    injectedStates: 1,
    startLayer: 2,
    endLayer: 7,
    initial: join(BUNDLED_MODEL, "adapters", "caption.safetensors"),
  },
  optimizer: { learningRate: 2e-4, clipNorm: 1 },
  epochs: 2,
  batchSize: 2,
  // Do not write the adapter into the model folder.
  install: false,
});

const { adapterFile } = await trainModel(config, {
  onPlan: ({ trainedParameters, trainedShare }) =>
    console.log(`training ${trainedParameters} parameters, ${(100 * trainedShare).toFixed(2)} % of all`),
  onStep: ({ step, steps, tokenLoss }) => console.log(`step ${step} of ${steps}: loss ${tokenLoss.toFixed(3)}`),
});

const model = await load(BUNDLED_MODEL);
await model.useAdapter("example", await readAdapter(adapterFile), "image");
const image = join(BUNDLED_MODEL, "samples", "red-apple.jpg");
const { text } = await model.caption(image, { adapter: "example" });
console.log(`caption with the new adapter: ${text}`);
await model.close();
