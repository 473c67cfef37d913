import { gradient } from "../autodiff/gradient.js";
import type { WeightSource } from "../backbones/parameters.js";
import { type VitConfig, vit } from "../backbones/vit.js";
import { GraphBuilder } from "../graph/builder.js";
import type { Graph, Value } from "../graph/ir.js";
import { linear } from "../layers/linear.js";
import { smoothedLoss } from "../training/smoothed-loss.js";
import { TrainedParameters } from "../training/trained-parameters.js";
import { isPosition } from "./mae-graph.js";

export interface ClassifierOptions {
  /** Per aspect, how many labels it has. */
  readonly classes: ReadonlyMap<string, number>;
  /** How many of the last blocks are trained: 0 trains the heads alone; all of them train the embedding, too. */
  readonly trainedBlocks: number;
  /** Share of each label's probability that is spread over all. */
  readonly labelSmoothing: number;
}

/**
 * A ViT with a linear head per aspect on the normed [CLS] state of its last block. Inputs: `pixels` [B, 3, H, W];
 * `labels of ASPECT` int64 [B] and `weights of ASPECT` [B] (0 where a picture does not have the aspect); trained
 * tensors by name. Outputs: `loss`, summed over aspects; `logits of ASPECT` [B, C]; `gradient of NAME`.
 */
export function classifierGraph(
  config: VitConfig,
  weights: WeightSource,
  { classes, trainedBlocks, labelSmoothing }: ClassifierOptions,
): { graph: Graph; trained: readonly string[] } {
  const g = new GraphBuilder("classifier");
  const first = config.num_hidden_layers - trainedBlocks;
  const parameters = new TrainedParameters(
    g,
    weights,
    (name) => !isPosition(name) && (name.startsWith("head.") || isTrainedPart(name, first, trainedBlocks)),
  );
  const side = config.image_size;
  const pixels = g.input("pixels", "float32", ["batch", 3, side, side]);
  const states = vit(config, parameters).states(pixels);
  const width = config.hidden_size;
  const state = g.reshape(g.slice(states, 1, -1), [-1, width]);
  const losses = Array.from(classes, ([aspect, count]) => {
    const head = parameters.linear(headName(aspect), width, count, { bias: true });
    const logits = g.output(`logits of ${aspect}`, linear(g, state, head));
    return weightedLoss(g, logits, aspect, labelSmoothing);
  });
  const [one, ...others] = losses;
  g.output(
    "loss",
    others.reduce((sum, loss) => g.add(sum, loss), one ?? g.number(0)),
  );
  const { trained } = parameters;
  return { graph: gradient(g.finish(), "loss", trained), trained };
}

/** What a head's tensors are called, before `.weight` and `.bias`. */
export function headName(aspect: string): string {
  return `head.${aspect}`;
}

function isTrainedPart(name: string, firstBlock: number, trainedBlocks: number): boolean {
  const [, index] = /^blocks\.(\d+)\./.exec(name) ?? [];
  if (index !== undefined) return Number(index) >= firstBlock;
  return name.startsWith("norm.") ? trainedBlocks > 0 : firstBlock === 0;
}

function weightedLoss(g: GraphBuilder, logits: Value, aspect: string, labelSmoothing: number): Value {
  const labels = g.input(`labels of ${aspect}`, "int64", ["batch"]);
  const weights = g.input(`weights of ${aspect}`, "float32", ["batch"]);
  const { loss, logProbabilities } = g.crossEntropy(logits, labels);
  const smoothed = smoothedLoss(g, loss, logProbabilities, labelSmoothing);
  return g.sum(g.multiply(smoothed, weights), [0], false);
}
