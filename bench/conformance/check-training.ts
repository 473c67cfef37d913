import { join } from "node:path";
import type { Adapter } from "../../src/adapter/adapter.js";
import { adapterShapes } from "../../src/adapter/adapter.js";
import { gradientName } from "../../src/autodiff/gradient.js";
import { ParameterReader } from "../../src/backbones/parameters.js";
import { decoderArchitecture } from "../../src/backbones/registry.js";
import { Weights } from "../../src/formats/weights.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import type { Manifest } from "../../src/model/manifest.js";
import { adapterWidths } from "../../src/model/model-folder.js";
import { openSource } from "../../src/model/source-folder.js";
import { openSession, type Session } from "../../src/runtime/session.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { AdamW, torchDefaults } from "../../src/training/adamw.js";
import { trainingFeeds } from "../../src/training/adapter/training-batch.js";
import { trainingGraph, trainingLayout } from "../../src/training/adapter/training-graph.js";
import type { Case } from "./case.js";
import { type Check, closeTo } from "./compare.js";

/** The settings of the reference's script. */
const STEPS = 3;
const stepSize = { learningRate: 1e-2, weightDecay: 0.02 };

/** Compares gradients of the mean loss and three AdamW steps on the case's own decoder, states and adapter. */
export async function checkTraining(golden: Case, adapter: Adapter, manifest: Manifest): Promise<Check[]> {
  const session = await openTrainingSession(golden, adapter, manifest);
  try {
    const texts = { ids: golden.golden("input_ids"), mask: golden.golden("attention_mask") };
    const [batch = 1] = texts.ids.shape;
    const layout = trainingLayout(adapter.settings, adapterWidths(manifest), manifest.decoder.shape.layers);
    const feeds = trainingFeeds(texts, { states: golden.golden("states") }, layout, {
      weightOf: () => 1 / batch,
    });
    const weights = new Map(
      Array.from(adapter.tensors, ([name, tensor]) => [name, { ...tensor, data: tensor.data.slice() }]),
    );
    const names = Array.from(weights.keys());
    const fetches = ["loss", ...names.map(gradientName)];
    const checks: Check[] = [];
    const optimizer = new AdamW(torchDefaults);
    for (let step = 0; step < STEPS; step++) {
      // Feeds are new tensors in each step, because a session may keep those that it was given.
      const trained = Object.fromEntries(Array.from(weights, ([name, tensor]) => [name, { ...tensor }]));
      const results = await session.run({ ...feeds, ...trained }, fetches);
      const gradient = (name: string) => results[gradientName(name)] as Tensor;
      if (step === 0) {
        for (const name of names)
          checks.push(closeTo(`gradient of ${name}`, gradient(name), golden.golden(`grad.${name}`)));
      }
      checks.push(closeTo(`loss before step ${step + 1}`, results.loss as Tensor, golden.golden(`adamw.loss.${step}`)));
      optimizer.step(
        weights,
        (name) => gradient(name).data as Float32Array,
        () => stepSize,
      );
    }
    for (const [name, tensor] of weights) {
      checks.push(closeTo(`after ${STEPS} steps: ${name}`, tensor, golden.golden(`adamw.after3.${name}`)));
    }
    return checks;
  } finally {
    await session.close();
  }
}

async function openTrainingSession(golden: Case, adapter: Adapter, manifest: Manifest): Promise<Session> {
  const path = join(golden.folder, "decoder");
  const source = await openSource(path, path);
  try {
    const architecture = decoderArchitecture(String(source.config?.model_type), path);
    const weights = new Weights(source.checkpoint, { rename: architecture.rename });
    const g = new GraphBuilder("training");
    const graph = trainingGraph(g, architecture.build(source.config, new ParameterReader(g, weights)), {
      settings: adapter.settings,
      widths: adapterWidths(manifest),
      depth: manifest.encoder.depth,
      trained: adapterShapes(adapter.settings, adapterWidths(manifest)),
    });
    return await openSession(encodeOnnx(graph));
  } finally {
    source.checkpoint.close();
  }
}
