import { gradient } from "../../autodiff/gradient.js";
import type { EncoderBackbone, PatchBackbone } from "../../backbones/backbone.js";
import { encoderInputs } from "../../backbones/encoders/encoder-graph.js";
import type { WeightSource } from "../../backbones/parameters.js";
import { encoderArchitecture } from "../../backbones/registry.js";
import { EpalmError } from "../../core/errors.js";
import { GraphBuilder } from "../../graph/builder.js";
import type { Graph, Value } from "../../graph/ir.js";
import { linear } from "../../layers/linear.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Labelled } from "../data/labelled-images.js";
import { TrainedParameters } from "../trained-parameters.js";
import { attributeLoss, attributeTargets, type Classes, headName, isHead, outputLoss } from "./attributes.js";
import { isPosition } from "./mae-graph.js";

/** The public `config.json` of an encoder: `model_type` and sizes. */
export type EncoderConfig = { readonly model_type: string } & Readonly<Record<string, unknown>>;

/** An additional linear head on the [CLS] state with its own loss. */
export interface ExtraHead {
  readonly name: string;
  readonly width: number;
  /** Weight of the other heads' losses relative to this one. */
  readonly labelsWeight: number;
  /** The loss of the head's output [B, width]; may add graph inputs, whose values `feeds` computes. */
  loss(g: GraphBuilder, output: Value): Value;
  feeds(examples: readonly Labelled[]): Readonly<Record<string, Tensor>>;
}

export interface ClassifierOptions {
  readonly config: EncoderConfig;
  /** Labels of each attribute of examples. */
  readonly classes: Classes;
  /** Labels of each attribute of patches. Default: patches are not classified. */
  readonly patchClasses?: Classes | undefined;
  readonly extraHead?: ExtraHead | undefined;
  /** Number of last blocks to train; 0 trains only the heads. Default: all blocks and the embedding. */
  readonly trainedBlocks?: number | undefined;
  /** Whether positions are frozen, as in a masked autoencoder. */
  readonly fixedPositions: boolean;
  /** Fraction of each label's probability that is spread over all labels. */
  readonly labelSmoothing: number;
}

export interface ClassifierGraph {
  readonly graph: Graph;
  /** Names of the trained tensors. */
  readonly trained: readonly string[];
  readonly backbone: EncoderBackbone;
  /** Patches per example; 0 if patches are not classified. */
  readonly patches: number;
}

/**
 * An encoder with one linear head per attribute on the normed [CLS] state of its last block, and one per attribute of
 * patches on its normed patches (token labelling, Jiang et al. 2021). Inputs: the input of the encoder; `labels of
 * ATTRIBUTE` int64 [B] and `weights of ATTRIBUTE` [B] (0 if an example does not have the attribute), both [B * N] for
 * attributes of patches; trained tensors by name. Outputs: `loss`, summed over all heads; `logits of ATTRIBUTE` [B, C]
 * or [B * N, C]; `gradient of NAME`.
 *
 * @throws unsupported_architecture if patches are to be classified but the encoder has none
 */
export function classifierGraph(
  weights: WeightSource,
  { config, classes, patchClasses = new Map(), extraHead, labelSmoothing, ...options }: ClassifierOptions,
): ClassifierGraph {
  const g = new GraphBuilder("classifier");
  const { trainedBlocks = Number(config.num_hidden_layers), fixedPositions } = options;
  const first = Number(config.num_hidden_layers) - trainedBlocks;
  const isTrained = (name: string) => isHead(name) || isTrainedPart(name, first, trainedBlocks);
  const parameters = new TrainedParameters(
    g,
    weights,
    (name) => !(fixedPositions && isPosition(name)) && isTrained(name),
  );
  const backbone = encoderArchitecture(config.model_type, "config").build(config, parameters);
  const { width } = backbone;
  const lossOf = (attribute: string, count: number, states: Value, rows: string) =>
    attributeLoss(g, parameters, states, width, attributeTargets(g, attribute, rows), {
      attribute,
      count,
      labelSmoothing,
    });
  const input = g.input(encoderInputs[backbone.modality], "float32", ["batch", ...backbone.inputShape]);
  const seen = patchClasses.size > 0 ? withPatches(backbone).through(input) : undefined;
  const state = g.slice(seen?.classTokens ?? backbone.states(input), 1, -1);
  const losses = Array.from(classes, ([attribute, { length }]) => lossOf(attribute, length, state, "batch"));
  const patches = seen?.patches();
  const perExample = Number(patches?.shape[1] ?? 0);
  if (patches) {
    for (const [attribute, { length }] of patchClasses) {
      losses.push(lossOf(attribute, length, patches, `batch*${perExample}`));
    }
  }
  outputLoss(g, extraHead ? [...losses.map(weighted(extraHead)), lossOfExtra(extraHead)] : losses);
  const { trained } = parameters;
  return { graph: gradient(g.finish(), "loss", trained), trained, backbone, patches: perExample };

  function weighted({ labelsWeight }: ExtraHead): (loss: Value) => Value {
    return (loss) => g.multiply(loss, g.number(labelsWeight));
  }

  function lossOfExtra(extra: ExtraHead): Value {
    const head = parameters.linear(headName(extra.name), width, extra.width, { bias: true });
    return extra.loss(g, linear(g, g.reshape(state, [-1, width]), head));
  }
}

function withPatches(backbone: EncoderBackbone): PatchBackbone {
  if (hasPatches(backbone)) return backbone;
  throw new EpalmError(
    "unsupported_architecture",
    `${backbone.architecture}: expected an encoder whose patches can be classified`,
  );
}

function hasPatches(backbone: EncoderBackbone): backbone is PatchBackbone {
  return "through" in backbone;
}

/** Whether a tensor belongs to the trained blocks or the final norm; if all blocks are trained, every tensor does. */
function isTrainedPart(name: string, firstBlock: number, trainedBlocks: number): boolean {
  const [, index] = /^blocks\.(\d+)\./.exec(name) ?? [];
  if (index !== undefined) return Number(index) >= firstBlock;
  return name.startsWith("norm.") ? trainedBlocks > 0 : firstBlock === 0;
}
