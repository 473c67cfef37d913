import { gradient } from "../../../src/autodiff/gradient.js";
import { opt } from "../../../src/backbones/opt.js";
import type { WeightSource } from "../../../src/backbones/parameters.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import type { Graph, Value } from "../../../src/graph/ir.js";
import { visibilityBias } from "../../../src/layers/attention.js";
import { TrainedParameters } from "../../../src/training/index.js";

/** Where conditioning labels enter the layers: where the states of adapters of the same layers will. */
export interface SlotLayers {
  /** Number of attributes that a conditioning label may have. */
  readonly attributes: number;
  readonly startLayer: number;
  /** Exclusive. */
  readonly endLayer: number;
}

/** Trained beside the model's own weights, and no part of it: [attributes, d]. */
export const ATTRIBUTES = "aspects";

/**
 * Loss and gradients of a language model with all of its weights. A document's conditioning labels share one slot before its
 * texts: the weighted sum of their tokens' embeddings, each times its attribute's row, overwrites the slot's hidden state
 * at every layer in [startLayer, endLayer); layers below do not see it. So what is said of a picture in words comes in
 * as a picture will (eP-ALM, section 3), and the frozen model can read it.
 *
 * Inputs: `input_ids`, `position_ids` and `slot_of` int64 [B, T]; `visible` bool [B, T, T]; `hint_ids` and
 * `hint_aspects` int64 [S, H] and `hint_weights` [S, H], where `slot_of` names a row, and the first row is no slot;
 * `target_ids` int64 [B * T]; `target_weights` [B * T]. Outputs: `loss`, the weighted sum of the cross-entropies;
 * `token_loss` [B * T]; and `gradient of NAME` for every weight.
 */
export function languageModelGraph(config: unknown, weights: WeightSource, slots: SlotLayers): Graph {
  const g = new GraphBuilder("language-model");
  const parameters = new TrainedParameters(g, weights);
  const model = opt(config, parameters);
  const { width, layers, attention } = model.shape;
  const ids = g.input("input_ids", "int64", ["batch", "text"]);
  const positions = g.input("position_ids", "int64", ["batch", "text"]);
  const visible = g.input("visible", "bool", ["batch", "text", "text"]);
  const slotOf = g.input("slot_of", "int64", ["batch", "text"]);
  const targets = g.input("target_ids", "int64", ["batch*text"]);
  const targetWeights = g.input("target_weights", "float32", ["batch*text"]);
  const isSlot = g.less(g.integer(0), slotOf);
  const states = g.gather(
    conditionedStates(g, parameters, (tokens) => model.embed(tokens), width, slots),
    slotOf,
  );
  const withSlot = visibilityBias(g, visible, attention);
  const withoutSlot = visibilityBias(g, g.and(visible, g.not(g.unsqueeze(isSlot, 1))), attention);
  let hidden = model.enter(model.embed(ids), positions, g.less(g.integer(-1), positions));
  for (let index = 0; index < layers; index++) {
    hidden = g.scope(`layers.${index}`, () => {
      const isInjected = index >= slots.startLayer && index < slots.endLayer;
      const entering = isInjected ? g.where(g.unsqueeze(isSlot, -1), states, hidden) : hidden;
      return model.layer(index, entering, { bias: index < slots.startLayer ? withoutSlot : withSlot }).hidden;
    });
  }
  const scores = model.head(g.reshape(hidden, [-1, width]));
  const { loss } = g.crossEntropy(scores, targets);
  g.output("token_loss", loss);
  g.output("loss", g.sum(g.multiply(loss, targetWeights), [0], false));
  return gradient(g.finish(), "loss", parameters.trained);
}

/** [S, d] */
function conditionedStates(
  g: GraphBuilder,
  parameters: TrainedParameters,
  embed: (ids: Value) => Value,
  width: number,
  { attributes }: SlotLayers,
): Value {
  const table = parameters.tensor(ATTRIBUTES, [attributes, width]);
  const tokens = embed(g.input("hint_ids", "int64", ["slots", "hints"]));
  const rows = g.gather(table, g.input("hint_aspects", "int64", ["slots", "hints"]));
  const weights = g.unsqueeze(g.input("hint_weights", "float32", ["slots", "hints"]), -1);
  return g.sum(g.multiply(g.multiply(tokens, rows), weights), [1], false);
}
