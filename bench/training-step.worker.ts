import { join } from "node:path";
import { type AdapterSettings, adapterShapes } from "../src/adapter/adapter.js";
import { gradientName } from "../src/autodiff/gradient.js";
import { randomStreams } from "../src/core/random.js";
import { GraphBuilder } from "../src/graph/builder.js";
import { writeOnnx } from "../src/graph/onnx-writer.js";
import { frozenDecoder } from "../src/model/frozen-decoder.js";
import { adapterWidths, openModelFolder } from "../src/model/model-folder.js";
import { openSession } from "../src/runtime/session.js";
import type { Tensor } from "../src/tensor/tensor.js";
import { AdamW } from "../src/training/adamw.js";
import { initialAdapter } from "../src/training/adapter/initial-adapter.js";
import { trainingFeeds } from "../src/training/adapter/training-batch.js";
import { trainingGraph, trainingLayout } from "../src/training/adapter/training-graph.js";
import { measureSteps, printAndExit } from "./measure-steps.js";
import type { StepCost, StepSettings } from "./training.js";

/** The process behind `npm run bench -- training`: trains an adapter for some steps and prints their cost as JSON. */

async function measure(path: string, work: string, bench: StepSettings): Promise<StepCost> {
  const model = await openModelFolder(path, { checksums: false });
  const { encoder } = model.manifest;
  const settings: AdapterSettings = {
    injectedStates: bench.states,
    startLayer: bench.start,
    endLayer: bench.end,
    sharedConnector: true,
    promptLength: 1,
    promptForm: "table",
    perceptionSees: "itself",
  };
  const [random = Math.random] = randomStreams(0, 1);
  const { tensors } = initialAdapter(settings, adapterWidths(model.manifest), random);
  const weights = new Map(tensors);
  const g = new GraphBuilder("training");
  const widths = adapterWidths(model.manifest);
  const trained = adapterShapes(settings, widths);
  const layout = trainingLayout(settings, widths, model.manifest.decoder.shape.layers);
  const graph = trainingGraph(g, frozenDecoder(model, g), { settings, widths, depth: encoder.depth, trained });
  writeOnnx(graph, join(work, "training.onnx"), { packTables: false });
  const session = await openSession(join(work, "training.onnx"), { threads: bench.threads });
  const optimizer = new AdamW();
  const names = Array.from(trained.keys());
  const shape = [bench.batch, bench.tokens];
  const ids: Tensor = {
    type: "int64",
    shape,
    data: BigInt64Array.from({ length: bench.batch * bench.tokens }, () => BigInt(3 + Math.floor(random() * 247))),
  };
  const mask: Tensor = { ...ids, data: new BigInt64Array(bench.batch * bench.tokens).fill(1n) };
  const count = bench.batch * encoder.depth * encoder.width;
  const states: Tensor = {
    type: "float32",
    shape: [bench.batch, encoder.depth, encoder.width],
    data: Float32Array.from({ length: count }, () => random() - 0.5),
  };
  return measureSteps(bench, async () => {
    const weight = 0.1 / bench.batch;
    const feeds = trainingFeeds({ ids, mask }, { states }, layout, { weightOf: () => weight });
    const inputs = Object.fromEntries(Array.from(weights, ([name, tensor]) => [name, { ...tensor }]));
    const before = performance.now();
    const results = await session.run({ ...feeds, ...inputs }, ["loss", ...names.map(gradientName)]);
    const inside = performance.now() - before;
    optimizer.step(
      weights,
      (name) => results[gradientName(name)]?.data as Float32Array,
      () => ({ learningRate: 1e-4, weightDecay: 0.02 }),
    );
    return inside;
  });
}

const [path = "", work = "", settings = ""] = process.argv.slice(2);
await printAndExit(() => measure(path, work, JSON.parse(settings)));
