import { gradient } from "../../autodiff/gradient.js";
import type { WeightSource } from "../../backbones/parameters.js";
import { patchesPerSide, type VitConfig, vit } from "../../backbones/vit.js";
import { GraphBuilder } from "../../graph/builder.js";
import type { Graph, Value } from "../../graph/ir.js";
import { TrainedParameters } from "../trained-parameters.js";
import { attributeLoss, attributeTargets, outputLoss } from "./attributes.js";
import { isPosition } from "./mae-graph.js";

export interface ClassifierOptions {
  /** Per attribute, how many labels it has. */
  readonly classes: ReadonlyMap<string, number>;
  /** How many labels the patches have among them; 0: patches are not asked. */
  readonly regionLabels: number;
  /** How many of the last blocks are trained: 0 trains the heads alone; all of them train the embedding, too. */
  readonly trainedBlocks: number;
  /** Share of each label's probability that is spread over all. */
  readonly labelSmoothing: number;
}

/**
 * A ViT with a linear head per attribute on the normed [CLS] state of its last block, and one for regions on its normed
 * patches (what Jiang et al. 2021 call token labelling). Inputs: `pixels` [B, 3, H, W];
 * `labels of ATTRIBUTE` int64 [B] and `weights of ATTRIBUTE` [B] (0 where a picture does not have the attribute); for `regions`
 * [B * N], a row per patch; trained tensors by name. Outputs: `loss`, summed over attributes and regions;
 * `logits of ATTRIBUTE` [B, C], `logits of regions` [B * N, C]; `gradient of NAME`.
 */
export function classifierGraph(
  config: VitConfig,
  weights: WeightSource,
  { classes, regionLabels, trainedBlocks, labelSmoothing }: ClassifierOptions,
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
  const { classTokens, patches } = vit(config, parameters).through(pixels);
  const width = config.hidden_size;
  const lossOf = (attribute: string, count: number, states: Value, rows: string) =>
    attributeLoss(g, parameters, states, width, attributeTargets(g, attribute, rows), {
      attribute,
      count,
      labelSmoothing,
    });
  const state = g.slice(classTokens, 1, -1);
  const losses = Array.from(classes, ([attribute, count]) => lossOf(attribute, count, state, "batch"));
  const patchRows = `batch*${patchesPerSide(config) ** 2}`;
  if (regionLabels > 0) losses.push(lossOf(REGIONS, regionLabels, patches(), patchRows));
  outputLoss(g, losses);
  const { trained } = parameters;
  return { graph: gradient(g.finish(), "loss", trained), trained };
}

/** What the head of the patches is called; no attribute may be. */
export const REGIONS = "regions";

/** Whether a tensor is of the last blocks, or of the norm behind them; of all, where all are trained. */
export function isTrainedPart(name: string, firstBlock: number, trainedBlocks: number): boolean {
  const [, index] = /^blocks\.(\d+)\./.exec(name) ?? [];
  if (index !== undefined) return Number(index) >= firstBlock;
  return name.startsWith("norm.") ? trainedBlocks > 0 : firstBlock === 0;
}
