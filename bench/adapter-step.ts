import { type AdapterSettings, adapterShapes } from "../src/adapter/adapter.js";
import type { AdapterWidths } from "../src/adapter/adapter-widths.js";
import { gradientName } from "../src/autodiff/gradient.js";
import type { DecoderBackbone } from "../src/backbones/backbone.js";
import { randomStreams } from "../src/core/random.js";
import type { GraphBuilder } from "../src/graph/builder.js";
import type { Graph } from "../src/graph/ir.js";
import type { Session } from "../src/runtime/session.js";
import type { Tensor } from "../src/tensor/tensor.js";
import { AdamW } from "../src/training/adamw.js";
import { initialAdapter } from "../src/training/adapter/initial-adapter.js";
import { trainingFeeds } from "../src/training/adapter/training-batch.js";
import { trainingGraph, trainingLayout } from "../src/training/adapter/training-graph.js";
import type { StepSettings } from "./training.js";

export interface AdapterStep {
  readonly graph: Graph;
  /** Computes loss and gradients and changes the weights; returns the milliseconds inside ONNX Runtime. */
  run(session: Session): Promise<number>;
}

/** A step of training an adapter with injected states, on random tokens and states. @param depth number of states */
export function adapterStep(
  g: GraphBuilder,
  backbone: DecoderBackbone,
  { widths, depth }: { readonly widths: AdapterWidths; readonly depth: number },
  bench: Pick<StepSettings, "batch" | "tokens" | "states" | "start" | "end">,
): AdapterStep {
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
  const weights = new Map(initialAdapter(settings, widths, random).tensors);
  const trained = adapterShapes(settings, widths);
  const names = Array.from(trained.keys());
  const layout = trainingLayout(settings, widths, backbone.shape.layers);
  const optimizer = new AdamW();
  const shape = [bench.batch, bench.tokens];
  const ids: Tensor = {
    type: "int64",
    shape,
    data: BigInt64Array.from({ length: bench.batch * bench.tokens }, () => BigInt(3 + Math.floor(random() * 247))),
  };
  const mask: Tensor = { ...ids, data: new BigInt64Array(bench.batch * bench.tokens).fill(1n) };
  const states: Tensor = {
    type: "float32",
    shape: [bench.batch, depth, widths.encoder],
    data: Float32Array.from({ length: bench.batch * depth * widths.encoder }, () => random() - 0.5),
  };
  return {
    graph: trainingGraph(g, backbone, { settings, widths, depth, trained }),
    async run(session) {
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
    },
  };
}
