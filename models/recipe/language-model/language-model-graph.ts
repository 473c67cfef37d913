import { gradient } from "../../../src/autodiff/gradient.js";
import { opt } from "../../../src/backbones/decoders/opt.js";
import type { WeightSource } from "../../../src/backbones/parameters.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import type { Graph, Value } from "../../../src/graph/ir.js";
import { visibilityBias } from "../../../src/layers/attention.js";
import { TrainedParameters } from "../../../src/training/index.js";

/** The layers at which conditioning labels enter the model. Adapters inject their states at the same layers. */
export interface SlotLayers {
  /** Number of attributes that a conditioning label can have. */
  readonly attributes: number;
  readonly startLayer: number;
  /** Exclusive. */
  readonly endLayer: number;
}

/**
 * Name of the table of attribute vectors, [attributes, d]. It is trained together with the model's weights but is not
 * written with them.
 */
export const ATTRIBUTES = "aspects";

/**
 * Builds the graph of a language model's loss and of its gradients with respect to all weights. The conditioning
 * labels of a document share one slot before its texts: the weighted sum of their tokens' embeddings, each multiplied
 * elementwise by the vector of its attribute, overwrites the slot's hidden state at every layer in [startLayer,
 * endLayer). Lower layers do not attend to the slot. An adapter injects its states at the same place (eP-ALM, section
 * 3), so the frozen model can read them.
 *
 * Inputs: `input_ids`, `position_ids` and `slot_of` int64 [B, T]; `visible` bool [B, T, T]; `hint_ids` and
 * `hint_aspects` int64 [S, H] and `hint_weights` [S, H], where `slot_of` is an index of these S rows and row 0 means
 * that a place is not a slot; `target_ids` int64 [B * T]; `target_weights` [B * T]. Outputs: `loss`, the weighted
 * sum of the cross-entropies; `token_loss` [B * T]; and `gradient of NAME` for every weight.
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

/** The states of the slots, [S, d]. */
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
