import { join } from "node:path";
import { gradientName } from "../../src/autodiff/gradient.js";
import { maeName } from "../../src/backbones/encoders/mae.js";
import { Weights } from "../../src/formats/weights.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { openSource } from "../../src/model/source-folder.js";
import { type Feeds, openSession } from "../../src/runtime/session.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { maeGraph, maskFeeds } from "../../src/training/encoder/mae-graph.js";
import { type Check, closeTo } from "./compare.js";
import { openGolden } from "./golden.js";

const GRADIENT = "grad.";

/** Compares mask, logits, loss and all gradients of a masked autoencoder for given noise. */
export async function checkMae(folder: string): Promise<Check[]> {
  const golden = openGolden(folder);
  const path = join(folder, "mae");
  const source = await openSource(path, path);
  try {
    const weights = new Weights(source.checkpoint, { rename: maeName });
    const { graph, trained } = maeGraph(source.config, weights);
    weights.finish();
    const session = await openSession(encodeOnnx(graph));
    const values = trained.map((name): [string, Tensor] => {
      const { type, shape, read } = weights.take(name, weights.shapeOf(name) ?? []);
      return [name, { type, shape, data: read() }];
    });
    const mask = golden.tensor("mask");
    const visible = (mask.shape[1] ?? 0) - sum(mask.data.subarray(0, mask.shape[1]) as Float32Array);
    const feeds: Feeds = { pixels: golden.tensor("pixels"), ...maskFeeds(golden.tensor("noise"), visible) };
    const results = await session.run({ ...feeds, ...Object.fromEntries(values) }, [
      "loss",
      "logits",
      ...trained.map(gradientName),
    ]);
    await session.close();
    const gradients = golden.names.filter((name) => name.startsWith(GRADIENT));
    // A softmax does not change if all keys are shifted, so the gradient of their bias consists of rounding errors.
    const rounding = 1e-3 * Math.max(...gradients.map((name) => largest(golden.tensor(name))));
    return [
      closeTo("mask", feeds.masked as Tensor, mask),
      closeTo("logits", results.logits as Tensor, golden.tensor("logits")),
      closeTo("loss", results.loss as Tensor, golden.tensor("loss")),
      ...gradients.map((name) => {
        const own = maeName(name.slice(GRADIENT.length)) ?? name;
        const found = results[gradientName(own)] ?? { type: "float32", shape: [0], data: new Float32Array() };
        return closeTo(`gradient of ${own}`, found, golden.tensor(name), rounding);
      }),
    ];
  } finally {
    source.checkpoint.close();
    golden.close();
  }
}

function largest({ data }: Tensor): number {
  return (data as Float32Array).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

function sum(values: Float32Array): number {
  return values.reduce((total, value) => total + value, 0);
}
