import { type AdapterSettings, type AdapterValues, perception, softPrompt } from "../../adapter/adapter.js";
import { injectionPlan } from "../../adapter/injection-plan.js";
import { gradient } from "../../autodiff/gradient.js";
import type { DecoderBackbone, LayerContext } from "../../backbones/backbone.js";
import { memoized } from "../../core/memoized.js";
import type { GraphBuilder } from "../../graph/builder.js";
import { addDims } from "../../graph/dims.js";
import type { Graph, Value } from "../../graph/ir.js";
import { insideWindow, visibilityBias } from "../../layers/attention.js";
import type { RotaryAngles } from "../../layers/rotary.js";
import type { Shape } from "../../tensor/tensor.js";
import { smoothedLoss } from "../smoothed-loss.js";

/** Sizes of the encoder states that a training graph takes. */
export interface StatesShape {
  readonly depth: number;
  readonly width: number;
}

export interface TrainingGraphOptions {
  readonly settings: AdapterSettings;
  readonly states: StatesShape;
  /** Names and shapes of the trained tensors: inputs of the graph, each with a gradient among the outputs. */
  readonly trained: ReadonlyMap<string, Shape>;
  /** Fraction of each target's probability that is spread over the vocabulary. Default: 0. */
  readonly labelSmoothing?: number | undefined;
}

/**
 * Loss and gradients of an adapter in one graph. It has the same layers as the decoder graph, built from plain
 * operators. Rows are `[P soft, T text]` below the first injected layer and have the perceptual slot in front from
 * there on. Logits are computed only where there is a target.
 *
 * Inputs (S = 1 + P + T): `cls_states` [B, depth, dv]; `input_ids` [B, T]; `position_ids` and `is_text` [B, P + T];
 * `visible` bool [B, S, S]; `scored_rows` [N] (row * S + column), `target_ids` [N] and `target_weights` [N]; and the
 * trained tensors by name. Outputs: `loss`, the weighted sum of the targets' cross-entropies; `token_loss` [N]; and
 * `gradient of NAME` for each trained tensor.
 */
export function trainingGraph(g: GraphBuilder, backbone: DecoderBackbone, options: TrainingGraphOptions): Graph {
  const forward = lossGraph(g, backbone, options);
  return gradient(forward, "loss", Array.from(options.trained.keys()));
}

/** The graph of `trainingGraph` without gradients, for measuring a loss. */
export function lossGraph(g: GraphBuilder, backbone: DecoderBackbone, options: TrainingGraphOptions): Graph {
  const { settings, states, trained } = options;
  const inputs = new Map(Array.from(trained, ([name, shape]) => [name, g.input(name, "float32", shape)]));
  const values: AdapterValues = (name) => inputs.get(name) ?? g.value(name);
  const clsStates = g.input("cls_states", "float32", ["batch", states.depth, states.width]);
  const projected = perception(g, clsStates, values, settings);
  const hidden = injectedLayers(g, backbone, projected, softPrompt(g, values, settings), settings);
  weightedLoss(g, backbone, hidden, options.labelSmoothing ?? 0);
  return g.finish();
}

/** Embeds the text and runs all layers, with the slot overwritten as planned: [B, S, d] */
function injectedLayers(
  g: GraphBuilder,
  backbone: DecoderBackbone,
  states: Value,
  prompt: Value,
  settings: AdapterSettings,
): Value {
  const { shape } = backbone;
  const plan = injectionPlan(settings, shape.layers);
  const below = addDims("text", settings.promptLength);
  const ids = g.input("input_ids", "int64", ["batch", "text"]);
  const positions = g.input("position_ids", "int64", ["batch", below]);
  const isText = g.input("is_text", "bool", ["batch", below]);
  const visible = g.input("visible", "bool", ["batch", addDims(below, 1), addDims(below, 1)]);
  const contextOf = layerContexts(g, backbone, visible, g.pad(positions, 1, 1, 0));
  const text = backbone.embed(ids);
  const embeddings = g.concat([g.repeatFor(g.unsqueeze(prompt, 0), text), text], 1);
  let hidden = backbone.enter(embeddings, positions, isText);
  for (let layer = 0; layer < shape.layers; layer++) {
    hidden = g.scope(`layers.${layer}`, () => {
      const state = plan.stateAt[layer];
      const rest = layer > settings.startLayer ? g.slice(hidden, 1, 1) : hidden;
      const entering = state === undefined ? hidden : g.concat([g.slice(states, 1, state, state + 1), rest], 1);
      return backbone.layer(layer, entering, contextOf(layer, plan.visible[layer] ?? false)).hidden;
    });
  }
  return hidden;
}

/** The mask and the angles of each layer, with or without the slot. Layers with equal ones share their values. */
function layerContexts(g: GraphBuilder, backbone: DecoderBackbone, visible: Value, positions: Value) {
  const { attention } = backbone.shape;
  const angles = backbone.angles?.(positions);
  const rest = g.slice(visible, 1, 1);
  const biases = memoized((window: number | undefined) => {
    const inside = window === undefined ? rest : insideWindow(g, rest, window);
    const all = window === undefined ? visible : g.concat([g.slice(visible, 1, 0, 1), inside], 1);
    return {
      // A slot attends without a window.
      withSlot: visibilityBias(g, all, attention),
      withoutSlot: visibilityBias(g, g.slice(inside, 2, 1), attention),
    };
  });
  const anglesWithoutSlot = memoized(({ cosines, sines }: RotaryAngles) => ({
    cosines: g.slice(cosines, 2, 1),
    sines: g.slice(sines, 2, 1),
  }));
  return (layer: number, hasSlot: boolean): LayerContext => {
    const own = angles?.[layer];
    const { withSlot, withoutSlot } = biases(backbone.window?.(layer));
    if (hasSlot) return { bias: withSlot, angles: own };
    return { bias: withoutSlot, angles: own && anglesWithoutSlot(own) };
  };
}

function weightedLoss(g: GraphBuilder, backbone: DecoderBackbone, hidden: Value, labelSmoothing: number): void {
  const rows = g.input("scored_rows", "int64", ["scored"]);
  const targets = g.input("target_ids", "int64", ["scored"]);
  const weights = g.input("target_weights", "float32", ["scored"]);
  const scores = backbone.head(g.gather(g.reshape(hidden, [-1, backbone.shape.width]), rows));
  const { loss, logProbabilities } = g.crossEntropy(scores, targets);
  const smoothed = smoothedLoss(g, loss, logProbabilities, labelSmoothing);
  g.output("token_loss", loss);
  g.output("loss", g.sum(g.multiply(smoothed, weights), [0], false));
}
